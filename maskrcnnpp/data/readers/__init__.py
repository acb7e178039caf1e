"""One file a format; each yields :class:`maskrcnnpp.data.sample.Sample`."""

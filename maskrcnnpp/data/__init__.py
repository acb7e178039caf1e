"""Data for a training: the catalog, the mapper, augmentations and the loader."""

"""The old path of :mod:`maskrcnnpp.convert.synthetic`, for one release."""

from maskrcnnpp.convert.synthetic import *  # noqa: F403

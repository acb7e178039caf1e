"""The old path of :mod:`maskrcnnpp.images`, for one release."""

from maskrcnnpp.images import *  # noqa: F403

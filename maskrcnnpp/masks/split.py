"""Objects that touch, divided by a watershed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

_TOUCH = np.ones((3, 3))  # by an edge or a corner


def split_at_necks(objects: np.ndarray, neck: float) -> np.ndarray:
    """Objects divided where they are narrow.

    Args:
        objects: int (H, W), 0 is background.
        neck: pixels by which a place has to be nearer to the edge than the middles on both its
            sides.

    Returns:
        int (H, W), each object with a number from 1 of its own.
    """
    inside = objects > 0
    # below all inside, so that an object in which nothing stands out is its own middle
    distance = np.where(inside, ndimage.distance_transform_edt(inside), -neck)
    # maxima that stand out by less than the neck are one plateau with what lies between them
    filled = reconstruction(distance - neck, distance, method="dilation")
    middles, _ = ndimage.label(local_maxima(filled, footprint=_TOUCH) & inside, structure=_TOUCH)
    return _split(objects, distance, middles, connectivity=2)


def split_at_peaks(objects: np.ndarray, min_distance: int, connectivity: int) -> np.ndarray:
    """Objects divided where the distance to the background has several peaks.

    Args:
        objects: int (H, W), 0 is background.
        min_distance: between peaks, pixels.
        connectivity: 1 for pixels that share a side, 2 also for those that share a corner.

    Returns:
        int (H, W), each object with a number of its own.
    """
    distance = ndimage.distance_transform_edt(objects > 0)
    peaks = peak_local_max(
        distance, min_distance=min_distance, labels=objects, exclude_border=False
    )
    middles = np.zeros(objects.shape, dtype=np.int32)
    middles[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return _split(objects, distance, middles, connectivity)


def _split(
    objects: np.ndarray, distance: np.ndarray, middles: np.ndarray, connectivity: int
) -> np.ndarray:
    inside = objects > 0
    parts = watershed(-distance, middles, connectivity=connectivity, mask=inside)
    # an object without a middle, which a flat one may be, stays whole
    whole = inside & (parts == 0)
    parts[whole] = objects[whole] + middles.max()
    return parts

"""NIfTI volumes and the volumes of their labels, cut into slices. Needs nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.errors import DataError, first_line

NIFTI_SUFFIXES = (".nii", ".nii.gz")
AXES = 3
_SAME_PLACE = 0.5  # voxels that the corners of image and labels may be apart


def is_nifti(path: Path) -> bool:
    """Whether a file is a NIfTI volume, by its ending."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def read_volumes(image: Path, label: Path, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume and its labels as slices, turned the same way whatever the files' order of axes.

    Slices lie as neurologists look at them: what is left of the patient is left, and the front or,
    of slices that have no front, the head is at the top. Of those across axis 0 the back is left.

    Args:
        image: NIfTI file.
        label: NIfTI file of the same voxels.
        axis: across which it is cut: 0 from left to right, 1 from back to front, 2 from foot to
            head.

    Returns:
        values (slices, height, width), float32, all finite, and raw labels of the same shape, of
        the type that they have.

    Raises:
        DataError: a file cannot be read, has no three axes, does not say how they lie, has values
            that are NaN or infinite, or the two do not match; or nibabel is not installed.
    """
    first, second = _open(image), _open(label)
    if _shape(first) != _shape(second):
        sizes = ["x".join(map(str, _shape(volume))) for volume in (first, second)]
        raise DataError(f"{image} has {sizes[0]} voxels, its labels {label} {sizes[1]}")
    _check_same_place(image, first, label, second)
    values = _slices(image, first, axis).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{image} has values that are NaN or infinite: replace them first")
    return values, _slices(label, second, axis)


def _nibabel(path: Path) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise DataError(
            f"{path} is NIfTI, which needs nibabel: pip install 'maskrcnnpp[volumes]'"
        ) from error
    return nibabel


def _open(path: Path) -> Any:
    nibabel = _nibabel(path)
    try:
        volume = nibabel.load(path)
    except Exception as error:  # of decoders, which raise what they like
        raise DataError(f"{path} cannot be read as NIfTI: {first_line(error)}") from error
    if not 2 <= len(volume.shape) <= AXES and set(volume.shape[AXES:]) != {1}:
        raise DataError(
            f"{path} has {len(volume.shape)} axes ({'x'.join(map(str, volume.shape))}); save the "
            "volume of one time or channel as a file of its own"
        )
    if 0 in volume.shape:
        raise DataError(f"{path} is empty: {'x'.join(map(str, volume.shape))} voxels")
    codes = [int(volume.header[key]) for key in ("qform_code", "sform_code")]
    if not any(codes) or not _is_usable(volume.affine):
        raise DataError(
            f"{path} does not say how its axes lie in the patient (its affine is missing or "
            "singular): save it with its affine"
        )
    return volume


def _is_usable(affine: np.ndarray) -> bool:
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0)


def _shape(volume: Any) -> tuple[int, ...]:
    """Shape of a volume as three numbers, also where it is a single slice."""
    return (*volume.shape, 1)[:AXES]


def _check_same_place(image: Path, first: Any, label: Path, second: Any) -> None:
    last = np.array(_shape(first)) - 1
    corners = np.array([[*(last * bits), 1] for bits in np.ndindex(2, 2, 2)], float)
    # in voxels of the image
    moved = corners @ (np.linalg.inv(first.affine) @ second.affine).T
    apart = np.abs(moved - corners).max()
    if apart > _SAME_PLACE:
        raise DataError(
            f"{image} and its labels {label} lie {apart:.1f} voxels apart by their affines; where "
            "the voxels do match, save the labels with the affine of the image"
        )


def _slices(path: Path, volume: Any, axis: int) -> np.ndarray:
    """(slices, height, width), seen as :func:`read_volumes` says."""
    orientations = _nibabel(path).orientations
    try:
        voxels = np.asanyarray(volume.dataobj).reshape(_shape(volume))
    except Exception as error:
        raise DataError(f"{path} is damaged: {first_line(error)}") from error
    if voxels.dtype.kind not in "buif":
        raise DataError(f"{path} has voxels of type {voxels.dtype}, which are not numbers")
    # right, front and head are the ends of the axes then
    ordered = orientations.apply_orientation(voxels, orientations.io_orientation(volume.affine))
    planes = np.moveaxis(ordered, axis, 0)
    return planes.swapaxes(1, 2)[:, ::-1]

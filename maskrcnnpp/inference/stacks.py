"""Z-stacks and time series, predicted plane by plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.files import atomic_folder
from maskrcnnpp.images import Raster
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.semantic_predictor import SemanticPredictor
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.masks.stitch import Stitcher

#: Numbers from 0, rising, or all.
Planes = Sequence[int] | Literal["all"]


def check_planes(planes: Planes | None, stitch: float | None, formats: Sequence[str] = ()) -> None:
    """Check what can be before an image is opened.

    Args:
        planes, stitch: of :func:`predict_planes`; planes None are of images without a stack.
        formats: keys of :data:`WRITERS`.

    Raises:
        ConfigError: the threshold or a format is impossible, or the planes are not neighbours.
    """
    if planes is None:
        if stitch is not None:
            raise ConfigError("--stitch is of the planes of a stack: give --planes all, too")
        return
    Stitcher(stitch)
    if unfit := [name for name in formats if not WRITERS[name].takes_planes]:
        fit = [name for name, writer in WRITERS.items() if writer.takes_planes]
        raise ConfigError(
            f"--format {' '.join(unfit)} has no place for planes; with --planes choose of {fit}"
        )
    if stitch is None or isinstance(planes, str):
        return
    if gaps := [plane for plane, after in zip(planes, planes[1:]) if after != plane + 1]:
        raise ConfigError(
            "--stitch compares each plane with the one before, and --planes leaves out the one "
            f"after {gaps[0]}: give a range, such as {planes[0]}-{planes[-1]}"
        )


def predict_planes(
    predictor: Predictor | SemanticPredictor,
    image: Raster,
    planes: Planes = "all",
    stitch: float | None = None,
) -> Iterator[tuple[int, Objects]]:
    """The objects of a stack, a plane after the other. It is no 3-D: each plane is predicted alone.

    All planes are resized for the model as the one in the middle is, by the size of its objects.

    Args:
        predictor: a :class:`maskrcnnpp.Predictor`, or one of a semantic model.
        image: of ``maskrcnnpp.images.open_image(path, stacks=True)``. Its ``plane`` is set to what
            is yielded, and its ``place`` says where that is. An image without a stack has plane 0.
        planes: which ones.
        stitch: intersection over union, above 0 and up to 1, from which objects of one class in
            neighbouring planes are one and have one number (:func:`maskrcnnpp.masks.stitch.
            stitch_planes`): along z, or along t where there is no z. None: each has its own.

    Yields:
        number of the plane, and its objects, whose ``numbers`` are those of the stack.

    Raises:
        ConfigError: the threshold is impossible, or planes are not neighbours and are stitched.
        DataError: the stack has not these planes, or one cannot be read.
    """
    check_planes(planes, stitch)
    chosen = range(image.planes) if isinstance(planes, str) else planes
    if wrong := [plane for plane in chosen if not 0 <= plane < image.planes]:
        shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        raise DataError(
            f"{image.name} has the planes 0..{image.planes - 1}, not {shown}: choose others with "
            "--planes"
        )
    stitcher = Stitcher(stitch)
    resize = {}
    if isinstance(predictor, Predictor) and chosen:
        image.plane = chosen[len(chosen) // 2]
        resize = {"scale": predictor.scale_of(image)}
    is_quiet = not predictor.progress or len(chosen) < 2
    for plane in tqdm(chosen, desc="planes", unit="plane", disable=is_quiet, leave=False):
        image.plane = plane
        objects = predictor(image, **resize)
        if len(image.stack) > 1 and image.place["z"] == 0:  # of another time
            stitcher.restart()
        labels = objects.labels() if stitch is not None else np.zeros((0, 0), np.uint16)
        objects.numbers = stitcher.numbers(labels, len(objects), objects.categories).tolist()
        yield plane, objects


def predict_stack(
    predictor: Predictor | SemanticPredictor,
    planes: Planes,
    stitch: float | None,
    info: Info,
    outputs: Mapping[str, Path],
) -> float:
    """:func:`predict_planes` to files, which appear whole or not at all.

    Args:
        info: with a stack as its raster.
        outputs: path by format: a file for the whole stack, or a folder with a file of each plane.

    Returns:
        factor by which the planes were resized for the model.
    """
    found: dict[int, Objects] = {}
    with ExitStack() as stack:
        folders = {
            name: stack.enter_context(atomic_folder(path))
            for name, path in outputs.items()
            if WRITERS[name].write_stack is None
        }
        for plane, objects in predict_planes(predictor, info.raster, planes, stitch):
            name = "_".join(f"{axis}{number:04d}" for axis, number in info.raster.where.items())
            for form, folder in folders.items():
                WRITERS[form].write(objects, info, folder / f"{name}{WRITERS[form].ending}")
            # without the probabilities of a semantic model: masks take little memory
            found[plane] = Objects(
                objects.detections,
                *objects.image_size,
                scale=objects.scale,
                numbers=objects.numbers,
            )
        for form, path in outputs.items():
            if write := WRITERS[form].write_stack:
                write(found, info, path)
    return next(iter(found.values())).scale

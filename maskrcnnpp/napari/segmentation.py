"""The objects of a plane: found once, shown at any score threshold, and saved."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from scipy import ndimage

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.environment import versions
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.files import write_json
from maskrcnnpp.images.display import STRETCH
from maskrcnnpp.inference.candidates import Candidates, SemanticCandidates
from maskrcnnpp.inference.naming import Naming, find_naming
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.record import RECORD_FILE, config_settings, digest
from maskrcnnpp.inference.run import check_formats, is_out_of_memory
from maskrcnnpp.inference.semantic_predictor import load_predictor
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.inference.writers.table import measure_rows, table_columns
from maskrcnnpp.modeling.pruning import depth_key, trained_depths
from maskrcnnpp.models import Model, find_model
from maskrcnnpp.napari.planes import Plane
from maskrcnnpp.napari.reader import OWN_RECORD, features

#: Score from which detections are kept, to move the threshold without the model.
LOWEST = 0.05

#: Called with steps that are done, how many there are (0: unknown), and what is done now. What it
#: raises ends the work.
Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class About:
    """Description of a model, and the choices that it offers."""

    title: str
    purpose: str
    score: float  #: threshold that it was tuned to
    depths: Sequence[int]  #: at which it can be run; the last is its full one
    is_semantic: bool


@dataclass(frozen=True)
class Settings:
    """Choices of a segmentation."""

    model: str  #: see :func:`maskrcnnpp.models.find_model`
    score: float
    diameter: float | None = None  #: median of the objects, pixels; None: estimated
    depth: int | None = None  #: None: the full one
    tile_size: int = Options.tile_size


@dataclass(frozen=True, eq=False)
class Result:
    """Objects of a plane at any score threshold from :data:`LOWEST` on."""

    plane: Plane
    candidates: Candidates | SemanticCandidates
    naming: Naming
    record: dict[str, Any]  #: what it was made with
    warnings: Sequence[str]

    @property
    def is_semantic(self) -> bool:
        """Whether the model classifies pixels."""
        return isinstance(self.candidates, SemanticCandidates)

    def at(self, score: float) -> Objects:
        """The objects from a score on."""
        return self.candidates.at(max(score, LOWEST))

    def table(self, objects: Objects) -> dict[str, list[Any]]:
        """The columns of predict's CSV, as features of a Labels layer."""
        info = self._info()
        rows = [list(row.values()) for row in measure_rows(objects, info)]
        return features(table_columns(info), rows)

    def save(self, objects: Objects, score: float, formats: Sequence[str], folder: Path) -> None:
        """Write objects with the writers of predict, and what they were made with.

        Args:
            objects: of :meth:`at`, or of :func:`corrected`.
            score: their threshold, for the record.
            formats: keys of :data:`maskrcnnpp.inference.writers.WRITERS`.
            folder: made as needed. Files of an earlier save of the same plane are replaced.

        Raises:
            ConfigError: a format cannot be written, or the folder has files of these names that
                are not of this function.
            OutputError: the folder cannot be written to.
        """
        if not formats:
            raise ConfigError("no format is chosen: tick one at least")
        check_formats(formats, is_semantic=self.is_semantic)
        paths = {name: folder / f"{self.plane.name}{WRITERS[name].ending}" for name in formats}
        own = folder / f"{self.plane.name}{OWN_RECORD}"
        there = [path for path in paths.values() if path.exists()]
        if (folder / RECORD_FILE).exists() or (there and not own.exists()):
            what = there[0] if there else folder / RECORD_FILE
            raise ConfigError(f"{what} is of another run, and stays: choose another folder")
        record = {**self.record, "score_threshold": score, "plane": self.plane.name}
        write_json(own, record, indent=1)
        for name, path in paths.items():
            WRITERS[name].write(objects, self._info(), path)

    def _info(self) -> Info:
        return Info(self.plane.name, self.plane.raster(), self.naming)


def describe(name: str) -> About:
    """Description of a model, and the choices that it offers.

    Raises:
        ConfigError: there is no such model.
    """
    model = find_model(name)
    cfg = _config(model)
    score = Options(**model.options).score_threshold
    purpose = str(model.card["purpose"])
    return About(model.title, purpose, score, trained_depths(cfg), is_semantic(cfg))


def segment(plane: Plane, settings: Settings, report: Report) -> Result:
    """Find the objects of a plane.

    Raises:
        ConfigError: there is no such model, or a setting is impossible with it.
        DataError: the model cannot take the plane, or it needs more memory than there is.
    """
    report(0, 0, "reading the model")
    model = find_model(settings.model)
    cfg = _config(model)
    if settings.diameter is not None and not model.card.get("diameter"):
        raise ConfigError(
            f"the card of {model.title} does not say what diameter it was trained on: set the "
            "diameter to 0, which takes the image as it is"
        )
    opts = [] if settings.depth is None else [depth_key(cfg), str(settings.depth)]
    plane = _fitting(plane, cfg)
    options = {
        **model.options,
        "score_threshold": min(LOWEST, settings.score),  # moved afterwards
        "tile_size": settings.tile_size,
        "diameter": settings.diameter,
    }
    with _warnings() as said:
        if plane.pixels.dtype != np.uint8 and not cfg.INPUT.PERCENTILES:
            options.setdefault("percentiles", STRETCH)
            said.append(
                f"the model takes 8 bits and {plane.name} is {plane.pixels.dtype}: its "
                f"{STRETCH[0]} and {STRETCH[1]} % percentiles became black and white"
            )
        predictor = load_predictor(
            settings.model, backend="torch", opts=opts, progress=False, **options
        )
        predictor.watch = lambda done, count: report(done, count, "finding objects")
        try:
            candidates = predictor.candidates(plane.raster())
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DataError("out of memory: choose smaller tiles") from error
    record = {
        "model": model.title,
        "weights": digest(model.weights_file),
        "config": config_settings(build_config(str(model.config_file), opts)),
        **asdict(predictor.options),
        "versions": versions(),
    }
    naming = find_naming(cfg, None, model.card.get("classes"))
    return Result(plane, candidates, naming, record, said)


def corrected(objects: Objects, labels: np.ndarray) -> Objects:
    """The objects of a label image that was corrected by hand, by falling score.

    Args:
        objects: that the labels 1, 2, ... were; each keeps its score and class.
        labels: (height, width). An object with another label is new, and has the score 1.
    """
    values, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape) + (values[0] != 0)  # 0 stays what background is
    known = dict(enumerate(objects, start=1))
    found = []
    for number, box in zip(values[values != 0].tolist(), ndimage.find_objects(dense)):
        rows, columns = box
        before = known.get(number)
        found.append(
            Detection(
                tuple(map(float, (columns.start, rows.start, columns.stop, rows.stop))),
                before.score if before else 1.0,
                before.category if before else 0,
                labels[box] == number,
                rows.start,
                columns.start,
            )
        )
    found.sort(key=lambda entry: -entry.score)
    return objects.with_detections(found)


def formats(*, semantic: bool) -> dict[str, bool]:
    """Formats that a result can be saved in, and whether what they need is installed."""
    return {
        name: all(importlib.util.find_spec(package) for package in writer.packages)
        for name, writer in WRITERS.items()
        if semantic or not writer.is_semantic
    }


def _config(model: Model) -> CfgNode:
    return build_config(str(model.config_file))


def _fitting(plane: Plane, cfg: CfgNode) -> Plane:
    """The plane with the channels that the model takes.

    Raises:
        DataError: it has others.
    """
    there, wanted = plane.pixels.shape[2], len(cfg.MODEL.PIXEL_MEAN)
    if not plane.is_colour and (chosen := list(cfg.INPUT.CHANNELS)) and max(chosen) < there:
        plane = replace(plane, pixels=np.ascontiguousarray(plane.pixels[..., chosen]))
        there = len(chosen)
    if there != wanted and (there, wanted) != (1, 3):
        takes = "one channel" if wanted == 1 else f"{wanted} channels"
        has = "one" if there == 1 else f"{there}"
        raise DataError(
            f"the model takes {takes}, and of {plane.name} {has} would be taken: choose others "
            "under Channels"
        )
    return plane


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Warnings that this project logs while the context is open."""
    handler, logger = _Collector(), logging.getLogger("maskrcnnpp")
    logger.addHandler(handler)
    try:
        yield handler.said
    finally:
        logger.removeHandler(handler)

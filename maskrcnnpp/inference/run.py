"""Predict on many image files: what tools/predict.py does."""

from __future__ import annotations

import errno
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from maskrcnnpp.errors import ConfigError, DataError, UserError
from maskrcnnpp.files import write_json
from maskrcnnpp.inference.image_files import read_image
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info

RECORD_FILE = "run.json"
COCO_FILE = "coco_instances_results.json"


@dataclass(frozen=True)
class Job:
    """Files and what is to become of them."""

    files: Sequence[Path]
    output_dir: Path
    formats: Sequence[str]  #: keys of :data:`maskrcnnpp.inference.writers.WRITERS`
    channels: Sequence[int] | None = None

    def outputs(self, file: Path) -> dict[str, Path]:
        """The files of an image by format. Of two images of one stem the whole name is kept."""
        stems = Counter(other.stem for other in self.files)
        name = file.stem if stems[file.stem] == 1 else file.name
        return {f: self.output_dir / f"{name}{WRITERS[f][1]}" for f in self.formats}

    def is_done(self, file: Path) -> bool:
        return all(path.is_file() for path in self.outputs(file).values())

    def check(self) -> None:
        """Check what can be before a model is loaded.

        Raises:
            ConfigError: a format is unknown.
            DataError: two images of different folders have one name.
        """
        unknown = set(self.formats) - set(WRITERS)
        if unknown or not self.formats:
            raise ConfigError(
                f"--format {sorted(unknown)}: there is no such format; choose of {list(WRITERS)}"
            )
        folders = {file.parent.resolve() for file in self.files}
        if self.output_dir.resolve() in folders:
            raise ConfigError(
                f"--output {self.output_dir} is a folder of the images: choose one for the outputs"
            )
        names: dict[str, Path] = {}
        for file in self.files:
            other = names.setdefault(file.name, file)
            if other is not file:
                raise DataError(
                    f"{other} and {file} have one name, and would have one output: give them in "
                    "two runs with an --output each"
                )


def category_info(cfg: CfgNode) -> tuple[list[str], list[int]]:
    """Names and COCO ids of the model's classes 0, 1, ...: those of the data it was trained on.

    Where that is not registered here, "class 1", "class 2", ... and 1, 2, ...

    Raises:
        ConfigError: the data has not as many classes as the model.
    """
    count = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    names, ids = [f"class {k + 1}" for k in range(count)], list(range(1, count + 1))
    for name in cfg.DATASETS.TRAIN:
        if name not in MetadataCatalog.list():
            continue
        metadata = MetadataCatalog.get(name)
        names = list(metadata.get("thing_classes", names))
        mapping = metadata.get("thing_dataset_id_to_contiguous_id", {})
        ids = [key for key, _ in sorted(mapping.items(), key=lambda pair: pair[1])] or ids
    if len(names) != count or len(ids) != count:
        raise ConfigError(
            f"MODEL.ROI_HEADS.NUM_CLASSES is {count}, but the data of DATASETS.TRAIN has "
            f"{len(names)} classes"
        )
    return names, ids


def start_record(output_dir: Path, settings: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write run.json, or check that what lies in the folder was made with the same settings.

    Args:
        settings: what decides the outputs.
        about: machine, versions, command.

    Raises:
        ConfigError: the folder is of another run.
    """
    path = output_dir / RECORD_FILE
    settings = json.loads(json.dumps(settings))  # tuples as JSON has them
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["settings"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"{path} is no record of a run: {error}; remove it") from error
        differing = sorted(k for k in {*found, *settings} if found.get(k) != settings.get(k))
        if differing:
            raise ConfigError(
                f"{output_dir} holds a run with other settings ({', '.join(differing)}), which is "
                "not mixed in: choose another --output"
            )
        return
    write_json(path, {"settings": settings, **about}, indent=1)


def digest(path: str | Path) -> str:
    """Of a file's content, to tell checkpoints apart."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()[:16]


def predict_files(
    predictor: Predictor,
    job: Job,
    names: Sequence[str],
    ids: Sequence[int],
    *,
    part: tuple[int, int] = (0, 1),
) -> dict[str, str]:
    """Predict on the files that have no outputs yet.

    A file that cannot be read or written is told and left out; the rest goes on. Outputs appear
    whole or not at all.

    Args:
        names, ids: of :func:`category_info`.
        part: index and number of the processes that share the files.

    Returns:
        what went wrong, by file.

    Raises:
        UserError: the disk is full, or something is not installed.
    """
    index, processes = part
    files = [file for file in job.files[index::processes] if not job.is_done(file)]
    predictor.progress = len(files) == 1
    failed: dict[str, str] = {}
    for file in tqdm(files, desc="images", unit="image", disable=len(files) < 2 or index > 0):
        try:
            _predict(predictor, job, file, names, ids)
        except DataError as error:
            failed[str(file)] = str(error)
        except (MemoryError, torch.cuda.OutOfMemoryError):
            failed[str(file)] = (
                f"{file}: out of memory; lower --tile-size, --batch-size or, with --opts, "
                "TEST.DETECTIONS_PER_IMAGE"
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"{job.output_dir}: no space left; make room and run the same command again: "
                    "it goes on where it stopped"
                ) from error
            failed[str(file)] = f"{file}: {error}"
        if str(file) in failed:
            tqdm.write(f"left out: {failed[str(file)]}", file=sys.stderr)
    return failed


def _predict(
    predictor: Predictor, job: Job, file: Path, names: Sequence[str], ids: Sequence[int]
) -> None:
    picture = read_image(file, job.channels)
    try:
        objects = predictor(picture.pixels)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    info = Info(file.name, picture, names, ids)
    for name, path in job.outputs(file).items():
        if not path.is_file():
            WRITERS[name][0](objects, info, path)


def collect_coco(job: Job) -> Path | None:
    """All images' COCO results in one file, once every image has its own; None without that format.

    ``image_id`` is the name of the file.
    """
    if "coco" not in job.formats:
        return None
    results = []
    for file in job.files:
        path = job.outputs(file)["coco"]
        if path.is_file():
            results += json.loads(path.read_text(encoding="utf-8"))
    write_json(job.output_dir / COCO_FILE, results)
    return job.output_dir / COCO_FILE

"""Predict on many image files: what tools/predict.py does."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from maskrcnnpp.data.image_io import open_image
from maskrcnnpp.errors import ConfigError, DataError, OutputError, UserError
from maskrcnnpp.files import PARTIAL, write_json, write_json_list, write_text
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info

RECORD_FILE = "run.json"
COCO_FILE = "coco_instances_results.json"
_DONE_FOLDER = ".done"
# of a config: where and how fast it runs, not what comes out
_NO_MATTER = ("MODEL.DEVICE", "MODEL.WEIGHTS", "OUTPUT_DIR", "DATALOADER", "SOLVER", "SEED")


@dataclass(frozen=True)
class Job:
    """Files and what is to become of them."""

    files: Sequence[Path]
    output_dir: Path
    formats: Sequence[str]  #: keys of :data:`maskrcnnpp.inference.writers.WRITERS`
    channels: Sequence[int] | None = None

    def outputs(self, file: Path) -> dict[str, Path]:
        """The files of an image by format: its whole name and the ending of the format."""
        return {f: self.output_dir / f"{file.name}{WRITERS[f][1]}" for f in self.formats}

    def is_done(self, file: Path) -> bool:
        """Whether this very file, as it is now, has all its outputs."""
        try:
            kept = self._marker(file).read_text(encoding="utf-8")
        except OSError:
            return False
        return kept == _state(file) and all(p.is_file() for p in self.outputs(file).values())

    def mark_done(self, file: Path, state: str) -> None:
        """Call when all outputs are there, with :func:`_state` from before the file was read."""
        write_text(self._marker(file), state)

    def _marker(self, file: Path) -> Path:
        return self.output_dir / _DONE_FOLDER / file.name

    def check(self) -> None:
        """Check what can be before a model is loaded.

        Raises:
            ConfigError: a format is unknown, or the output folder is one of the images' or has
                something else in it.
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
        is_used = self.output_dir.is_dir() and any(self.output_dir.iterdir())
        if is_used and not (self.output_dir / RECORD_FILE).is_file():
            raise ConfigError(
                f"--output {self.output_dir} holds files that are not of a run (there is no "
                f"{RECORD_FILE}): choose another or an empty folder"
            )
        names: dict[str, Path] = {}
        for file in self.files:
            other = names.setdefault(file.name, file)
            if other is not file:
                raise DataError(
                    f"{other} and {file} have one name, and would have one output: give them in "
                    "two runs with an --output each"
                )

    def remove_partial(self) -> None:
        """Remove what a run that was killed was writing."""
        for path in self.output_dir.glob(f"{PARTIAL}*"):
            path.unlink(missing_ok=True)


def _state(file: Path) -> str:
    """Of a file: tells it from others of its name, and from what it was before it was changed."""
    status = file.stat()
    return f"{file.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n"


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


def config_settings(cfg: CfgNode) -> str:
    """A config as text, without what makes no difference to what is predicted."""
    cfg = cfg.clone()
    cfg.defrost()
    for key in _NO_MATTER:
        *path, last = key.split(".")
        node = cfg
        for name in path:
            node = node[name]
        del node[last]
    return cfg.dump()


def start_record(output_dir: Path, settings: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write run.json, or add to it where it is of the same settings.

    Args:
        settings: what decides the outputs.
        about: of this call: command, machine, versions.

    Raises:
        ConfigError: the folder is of a run with other settings.
        DataError: it cannot be written to.
    """
    path = output_dir / RECORD_FILE
    record = {"settings": json.loads(json.dumps(settings)), "calls": []}  # tuples as JSON has them
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            before, record["calls"] = dict(found["settings"]), list(found["calls"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(
                f"{path} is no record of a run ({error}): choose another --output"
            ) from error
        now = record["settings"]
        differing = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        if differing:
            raise ConfigError(
                f"{output_dir} holds a run with other settings ({', '.join(differing)}), which is "
                "not mixed in: choose another --output"
            )
    record["calls"].append(dict(about))
    write_json(path, record, indent=1)


def digest(path: str | Path) -> str:
    """Of a file's content, to tell checkpoints apart."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def predict_files(
    predictor: Predictor,
    job: Job,
    files: Sequence[Path],
    names: Sequence[str],
    ids: Sequence[int],
    *,
    quiet: bool = False,
) -> None:
    """Predict on ``files``, some of the job's.

    One that cannot be read, or needs more memory than there is, is told and left out; the rest
    goes on. Outputs appear whole or not at all.

    Args:
        names, ids: of :func:`category_info`.
        quiet: show no progress.

    Raises:
        UserError: outputs cannot be written, as on a full disk, or something is not installed.
    """
    predictor.progress = len(files) == 1 and not quiet
    for file in tqdm(files, desc="images", unit="image", disable=quiet or len(files) < 2):
        try:
            state = _state(file)
            with open_image(file, job.channels) as raster:
                objects = predictor(raster)
                _write(job, file, objects, Info(file.name, raster, names, ids))
            job.mark_done(file, state)
        except (DataError, OSError) as error:
            _leave_out(file, str(error))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            _leave_out(
                file,
                "out of memory; lower --tile-size, --batch-size or, with --opts, "
                "TEST.DETECTIONS_PER_IMAGE",
            )


def _leave_out(file: Path, reason: str) -> None:
    named = reason if str(file) in reason else f"{file}: {reason}"
    tqdm.write(f"left out: {named}", file=sys.stderr)


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch's own on a GPU; on the CPU a RuntimeError that says so
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        "can't allocate memory" in str(error)
    )


def _write(job: Job, file: Path, objects: Objects, info: Info) -> None:
    try:
        for name, path in job.outputs(file).items():
            WRITERS[name][0](objects, info, path)
    except (OutputError, OSError) as error:
        # of a folder that takes no more, which the next image would meet too
        raise UserError(
            f"{job.output_dir} cannot be written to: {getattr(error, 'strerror', None) or error}; "
            "mend that and run the same command again: it goes on where it stopped"
        ) from error


def collect_coco(job: Job) -> None:
    """Write the COCO results of all images that have them to one file; nothing without that format.

    ``image_id`` is the name of the file.
    """
    if "coco" in job.formats:
        paths = [job.outputs(file)["coco"] for file in job.files]
        results = (
            result
            for path in paths
            if path.is_file()
            for result in json.loads(path.read_text(encoding="utf-8"))
        )
        write_json_list(job.output_dir / COCO_FILE, results)

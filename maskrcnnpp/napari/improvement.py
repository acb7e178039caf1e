"""A model that is trained on with labels that were corrected by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import yaml
from fvcore.common.config import BASE_KEY

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.engine.training_log import read_training_log
from maskrcnnpp.errors import ConfigError, OutputError, UserError
from maskrcnnpp.exporting.pack import pack_model
from maskrcnnpp.files import atomic_path, write_bytes, write_text
from maskrcnnpp.images.raster import shrunk
from maskrcnnpp.inference.magnification import KNOWN_DIAMETERS
from maskrcnnpp.models import Model, find_model
from maskrcnnpp.napari.planes import Plane
from maskrcnnpp.napari.segmentation import Report
from maskrcnnpp.package_files import local_path

RECIPE = "maskrcnnpp://recipes/finetune_nuclei.yaml"
_SHORT = 10  # iterations
_POLL = 0.2  # seconds between looks at a process
_PATIENCE = 20  # seconds that a process has to end


@dataclass(frozen=True)
class Improvement:
    """Choices of a fine-tuning.

    Attributes:
        model: to begin with, see :func:`maskrcnnpp.models.find_model`.
        folder: takes the images and labels, which later calls train on too, the training and the
            new model.
        iterations: of the training.
        opts: KEY VALUE overrides of the config.
    """

    model: str
    folder: Path
    iterations: int
    opts: Sequence[str] = ()


def improve(plane: Plane, labels: np.ndarray, choices: Improvement, report: Report) -> Path:
    """Train a model on with a corrected plane, and those corrected before in the same folder.

    Args:
        labels: integers (height, width), of :func:`maskrcnnpp.napari.planes.labels_of`.

    Returns:
        the folder of the new model, for :func:`maskrcnnpp.models.find_model`.

    Raises:
        ConfigError: there is no such model, or it is not one that finds objects.
        DataError: the labels cannot be trained on.
        OutputError: the folder cannot be written to.
        UserError: the training failed, for the reason that it gave.
    """
    report(0, 0, "reading the model")
    model = find_model(choices.model)
    cfg = build_config(str(model.config_file))
    if is_semantic(cfg):
        raise ConfigError(f"{model.title} classifies pixels; only models of objects are improved")
    folder = choices.folder.absolute()
    data, coco = folder / "data", folder / "coco"
    files = [data / kind / f"{plane.name}.tif" for kind in ("images", "labels")]
    with _kept_on_failure(files):
        _write_pair(*files, *_at_known_size(plane.pixels, labels, model), plane.is_colour)
        _run(
            *("convert", "--format", "labels", "--input", data, "--output", coco),
            report=lambda: report(0, 0, "converting the labels"),
        )
    count = len(list((data / "images").glob("*.tif")))
    number = _free_number(folder)
    run = folder / f"training-{number}"
    try:
        batch = min(cfg.SOLVER.IMS_PER_BATCH, count)  # an image is once in a batch
        truth = coco / "annotations" / "instances_all.json"
        _train(model, truth, run, choices, {"IMS_PER_BATCH": batch}, report)
        report(0, 0, "writing the model")
        packed = folder / f"model-{number}"
        card = _card(model, f"{folder.name}-{number}", count)
        trained = build_config(str(run / "config.yaml"))
        pack_model(trained, run / "model_final.pth", card, run / packed.name)
        os.replace(run / packed.name, packed)
    except UserError:
        raise  # log.txt may say more
    except BaseException:
        shutil.rmtree(run, ignore_errors=True)
        raise
    return packed


def usual_iterations() -> int:
    """Number of iterations of the recipe."""
    return _recipe()["MAX_ITER"]


def _recipe() -> dict[str, Any]:
    """How it trains: the keys of SOLVER that it sets."""
    named = yaml.safe_load(Path(local_path(RECIPE)).read_text(encoding="utf-8"))["SOLVER"]
    return {key: build_config(RECIPE).SOLVER[key] for key in named}


def _at_known_size(
    pixels: np.ndarray, labels: np.ndarray, model: Model
) -> tuple[np.ndarray, np.ndarray]:
    """Resized, as in a prediction, where objects are of a size that the model does not know."""
    trained = model.card.get("diameter")
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    diameter = 2 * float(np.sqrt(np.median(areas) / np.pi))
    if not trained or KNOWN_DIAMETERS[0] <= diameter <= KNOWN_DIAMETERS[1]:
        return pixels, labels
    height, width = (max(1, round(side * trained / diameter)) for side in labels.shape)
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    if trained < diameter:
        return shrunk(pixels, height, width), labels[rows][:, columns]
    enlarged = cv2.resize(pixels.astype(np.float32), (width, height))
    enlarged = enlarged.reshape(height, width, -1)
    is_kept = pixels.dtype in (np.uint8, np.uint16)
    return (enlarged.round().astype(pixels.dtype) if is_kept else enlarged), labels[rows][
        :, columns
    ]


@contextmanager
def _kept_on_failure(files: Sequence[Path]) -> Iterator[None]:
    """Bring files back to what they were if the block fails: no later call meets bad ones."""
    before = {file: file.read_bytes() if file.is_file() else None for file in files}
    try:
        yield
    except BaseException:
        for file, content in before.items():
            if content is not None:
                write_bytes(file, content)
            elif file.is_file():
                file.unlink()
        raise


def _write_pair(
    image: Path, label_image: Path, pixels: np.ndarray, labels: np.ndarray, is_colour: bool
) -> None:
    if pixels.dtype not in (np.uint8, np.uint16):
        pixels = pixels.astype(np.float32)
    kind = np.uint16 if labels.max() < 2**16 else np.uint32
    how: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    elif is_colour:
        how["photometric"] = "rgb"
    else:
        pixels, how["metadata"] = np.moveaxis(pixels, -1, 0), {"axes": "CYX"}
    with atomic_path(label_image) as path:
        tifffile.imwrite(path, labels.astype(kind), compression="zlib")
    with atomic_path(image) as path:
        tifffile.imwrite(path, pixels, **how)


def _free_number(folder: Path) -> int:
    taken = {path.name for path in folder.iterdir()}
    return next(k for k in range(1, len(taken) + 2) if not {f"training-{k}", f"model-{k}"} & taken)


def _train(
    model: Model,
    data: Path,
    run: Path,
    choices: Improvement,
    more: Mapping[str, Any],
    report: Report,
) -> None:
    # of the recipe only how it trains: what is trained is the model that was chosen
    solver = _recipe()
    total = choices.iterations
    factor = total / solver["MAX_ITER"]
    is_short = total < _SHORT  # too few for a rate that falls
    solver["STEPS"] = () if is_short else tuple(round(s * factor) for s in solver["STEPS"])
    solver |= {"MAX_ITER": total, "CHECKPOINT_PERIOD": total, **more}
    solver["WARMUP_ITERS"] = min(solver["WARMUP_ITERS"], total)
    config = {
        BASE_KEY: str(model.config_file.absolute()),
        "MODEL": {"WEIGHTS": str(model.weights_file.absolute())},
        "DATASETS": {"TRAIN": (str(data),), "TEST": ()},
        "SOLVER": solver,
        "TEST": {"EVAL_PERIOD": 0},
        "OUTPUT_DIR": str(run),
    }
    file = run / "finetune.yaml"
    write_text(file, yaml.safe_dump(_plain(config)))
    report(0, 0, "starting the training")

    def look() -> None:
        entries = read_training_log(run)
        if not entries:
            return report(0, 0, "starting the training")
        last = entries[-1]
        loss = f", loss {last['total_loss']:.3g}" if "total_loss" in last else ""
        left = f", {round(last['eta_seconds'])} s left" if "eta_seconds" in last else ""
        return report(min(last["iteration"] + 1, total), total, f"training{loss}{left}")

    _run("train", "--config-file", file, *choices.opts, report=look)


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML has."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _card(model: Model, name: str, images: int) -> dict[str, Any]:
    card = {key: value for key, value in model.card.items() if key not in ("sha256", "trained")}
    what = f"{images} image{'s' * (images > 1)} corrected by hand"
    return {
        **card,
        "name": name,
        "version": "1",
        "data": f"{card['data']}; then {what}",
        "metrics": "not measured",
        "limits": [*card["limits"], f"fine-tuned on {what}: look at what it finds elsewhere"],
    }


def _run(*words: Any, report: Callable[[], None]) -> None:
    """Run a command of this project in a process of its own, which can be ended.

    Args:
        report: called now and then; what it raises ends the process.

    Raises:
        UserError: it failed. The message is its own.
        OutputError: it cannot be started.
    """
    command = [sys.executable, "-m", "maskrcnnpp", *map(str, words)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment
            )
        except OSError as error:
            raise OutputError(f"{sys.executable} cannot be started: {error.strerror}") from error
        try:
            while process.poll() is None:
                report()
                time.sleep(_POLL)
        finally:
            _end(process)
        if process.returncode:
            said.seek(0)
            lines = [line for line in said.read().splitlines() if line.strip()]
            _, found, message = "\n".join(lines).rpartition("\nerror: ")
            if not found and lines and lines[0].startswith("error: "):
                message = "\n".join(lines).removeprefix("error: ")
            elif not found:
                message = lines[-1] if lines else "it said nothing"
            raise UserError(f"maskrcnnpp {words[0]} failed: {message}")


def _end(process: subprocess.Popen) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

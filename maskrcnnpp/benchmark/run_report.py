"""A report of one trained model: what was trained, how good it is, and what it looks like."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager
from tabulate import tabulate

from maskrcnnpp.benchmark.scoring import SHOWN
from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.data.catalog import register_dataset
from maskrcnnpp.data.named_by_file import folder_name, register_file
from maskrcnnpp.engine.training_log import read_training_log, seconds_per_iteration
from maskrcnnpp.errors import DataError, UserError
from maskrcnnpp.evaluation.coco_evaluation import METRICS_FILE, RESULTS_FILE, coco_metrics_table
from maskrcnnpp.evaluation.instance_metrics import count_images, summarize
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.evaluation.semantic_evaluation import METRICS_FILE as PIXEL_METRICS_FILE
from maskrcnnpp.evaluation.semantic_evaluation import PREDICTIONS_FILE, semantic_metrics_table
from maskrcnnpp.evaluation.sheet import result_rows, semantic_rows, spread
from maskrcnnpp.files import write_text
from maskrcnnpp.visualization import SheetRow, write_contact_sheet

REPORT_FILE = "report.md"
SHEET_FILE = "contact_sheet.png"

# what the report says of the config: label, key
_SETTINGS = (
    ("model", "MODEL.META_ARCHITECTURE"),
    ("backbone", "MODEL.BACKBONE.NAME"),
    ("mask head", "MODEL.ROI_MASK_HEAD.NAME"),
    ("segmentation head", "MODEL.SEM_SEG_HEAD.NAME"),
    ("first weights", "MODEL.WEIGHTS"),
    ("training data", "DATASETS.TRAIN"),
    ("iterations", "SOLVER.MAX_ITER"),
    ("images a batch", "SOLVER.IMS_PER_BATCH"),
    ("learning rate", "SOLVER.BASE_LR"),
    ("seed", "SEED"),
)


def build_report(
    run_dir: str | os.PathLike,
    dataset_name: str | None,
    output_dir: str | os.PathLike,
    *,
    score_threshold: float = 0.5,
    images: int = 8,
) -> dict[str, Any]:
    """Write ``report.md`` and ``contact_sheet.png`` of a trained and evaluated model.

    Args:
        run_dir: the training's OUTPUT_DIR, with ``config.yaml`` and, in
            ``inference/<dataset_name>/``, the files of COCOInstanceEvaluator, or those of
            SemanticEvaluator.
        dataset_name: the dataset the model was evaluated on: registered (of objects with
            ``json_file`` and ``image_root`` in its metadata), or ``FILE.json[:FOLDER]``. None: that
            of DATASETS.TEST in ``config.yaml``.
        output_dir: where the two files go.
        score_threshold: predictions below are not drawn and no objects, 0..1. AP counts them.
        images: how many images the sheet shows, spread evenly over the dataset; >= 1.

    Returns:
        What ``coco_metrics.json`` and ``semantic_metrics.json`` hold; and with masks ``shown``, see
        :func:`maskrcnnpp.evaluation.instance_metrics.summarize`.

    Raises:
        DataError: a file is missing or cannot be read; the message says what makes it.
        UserError: the dataset is not registered, ``config.yaml`` names none or several, or an
            argument is impossible.
    """
    if images < 1 or not 0 <= score_threshold <= 1:
        raise UserError("images must be at least 1 and score_threshold between 0 and 1")
    run_dir, output_dir = Path(run_dir), Path(output_dir)
    config = _read_config(run_dir)
    dataset_name = dataset_name or _evaluated_on(config, run_dir)
    inference = run_dir / "inference" / folder_name(dataset_name)
    command = _evaluate_command(run_dir, dataset_name)
    summary: dict[str, Any] = {}
    if _is_semantic(config):
        summary |= _read_dict(inference / PIXEL_METRICS_FILE, command, "images", "sem_seg")
    if summary and not (inference / METRICS_FILE).is_file():  # the truth has no objects
        rows = _pixel_rows(inference / PREDICTIONS_FILE, command, dataset_name, images)
    else:
        summary |= _read_dict(inference / METRICS_FILE, command, "images", "max_dets")
        results = _read_json(inference / RESULTS_FILE, command)
        if not isinstance(results, list) or not all({"image_id", "score"} <= {*r} for r in results):
            raise DataError(f"{inference / RESULTS_FILE}: not COCO results; make the file anew")
        truth, image_root = _dataset(dataset_name)
        if "segm" in summary:
            overlaps = find_overlaps(truth, results, summary["max_dets"])
            summary["shown"] = summarize(count_images(overlaps, score_threshold))
        chosen = spread(truth["images"], images)
        rows = result_rows(truth, chosen, image_root, results, score_threshold)
    write_contact_sheet(output_dir / SHEET_FILE, rows)
    lines = _report_lines(run_dir, config, summary, images, score_threshold)
    write_text(output_dir / REPORT_FILE, "\n".join(lines) + "\n")
    return summary


def _is_semantic(config: Mapping[str, Any]) -> bool:
    return _value(config, "MODEL.META_ARCHITECTURE") == "SemanticSegmentor"


def _pixel_rows(path: Path, command: str, dataset: str, images: int) -> Iterator[SheetRow]:
    predictions = _read_dict(path, command, "images", "classes", "ignore_value")
    register_file(dataset)
    register_dataset(dataset)
    if dataset not in DatasetCatalog.list():
        raise UserError(f"{dataset!r} is not a registered dataset, and not named by its file")
    records = [r for r in DatasetCatalog.get(dataset) if r["file_name"] in predictions["images"]]
    if not records:
        raise DataError(f"{path}: has no image of {dataset}; make it anew with\n    {command}")
    return semantic_rows(predictions, spread(records, images))


def _train_command(run_dir: Path) -> str:
    return f"maskrcnnpp train --config-file CONFIG.yaml OUTPUT_DIR {run_dir}"


def _evaluate_command(run_dir: Path, dataset_name: str) -> str:
    words = ["maskrcnnpp", "train", "--eval-only"]
    words += ["--config-file", str(run_dir / "config.yaml")]
    words += ["MODEL.WEIGHTS", str(run_dir / "model_final.pth"), "OUTPUT_DIR", str(run_dir)]
    words += ["DATASETS.TEST", f"({dataset_name!r},)"]
    return shlex.join(words)


def _read_text(path: Path, command: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; make it with\n    {command}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _read_json(path: Path, command: str) -> Any:
    text = _read_text(path, command)
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: no valid JSON ({error}); make it with\n    {command}") from error


def _read_dict(path: Path, command: str, *keys: str) -> dict[str, Any]:
    """Content of a file that an evaluation wrote; it has these keys and the name of the data."""
    found = _read_json(path, command)
    if not isinstance(found, dict) or not {"dataset", *keys} <= found.keys():
        raise DataError(f"{path}: not written by the evaluation; make it anew")
    return found


def _read_config(run_dir: Path) -> Mapping[str, Any]:
    path = run_dir / "config.yaml"
    text = _read_text(path, _train_command(run_dir))
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: no valid YAML: {error}") from error
    if not isinstance(config, Mapping):
        raise DataError(f"{path}: not a Detectron2 config")
    return config


def _evaluated_on(config: Mapping[str, Any], run_dir: Path) -> str:
    """The one data set of DATASETS.TEST."""
    names = _value(config, "DATASETS.TEST")
    names = [names] if isinstance(names, str) else list(names or ())
    if len(names) != 1:
        raise UserError(
            f"DATASETS.TEST of {run_dir / 'config.yaml'} names "
            f"{'several data sets: ' + ', '.join(names) if names else 'no data set'}; name the one "
            "to report on, with --dataset"
        )
    return names[0]


def _dataset(name: str) -> tuple[dict[str, Any], Path]:
    register_file(name)
    register_dataset(name)
    # MetadataCatalog.get makes an empty entry for an unknown name, so ask first
    metadata = MetadataCatalog.get(name) if name in MetadataCatalog.list() else None
    json_file = metadata and metadata.get("json_file")
    image_root = metadata and metadata.get("image_root")
    if not json_file or image_root is None:
        raise UserError(
            f"{name!r} is not a registered COCO dataset (json_file and image_root in its "
            "metadata), and not named by its file (annotations.json:folder_of_images)"
        )
    try:
        truth = load_coco_truth(PathManager.get_local_path(json_file))
    except OSError as error:
        raise DataError(f"{json_file}: cannot be read: {error}") from error
    if not truth["images"]:
        raise DataError(f"{json_file}: has no images")
    return truth, Path(PathManager.get_local_path(image_root))


def _report_lines(
    run_dir: Path,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    images: int,
    score_threshold: float,
) -> list[str]:
    drawn = "An outline is of all pixels of a class."
    if "max_dets" in summary:
        drawn = f"Predictions with a score of {score_threshold:g} or more are drawn. Colours only "
        drawn += "tell neighbours apart."
    return [
        f"# {run_dir.absolute().name} on {summary['dataset']}",
        "",
        "## What was trained",
        "",
        *[f"- {label}: {value}" for label, value in _settings(config)],
        f"- time: {_time_text(run_dir, config)}",
        f"- full config: `{run_dir / 'config.yaml'}`",
        "",
        "## How good it is",
        "",
        *_pixels_lines(summary),
        *_objects_lines(summary, score_threshold),
        "## What it looks like",
        "",
        f"{min(images, summary['images'])} of {summary['images']} images, at even steps through "
        f"the dataset. {drawn}",
        "",
        f"![image, truth and prediction]({SHEET_FILE})",
    ]


def _pixels_lines(summary: Mapping[str, Any]) -> list[str]:
    """The table of a semantic model."""
    if "sem_seg" not in summary:
        return []
    return [
        "IoU and Dice of the pixels of all images together, mean over classes and of each class;",
        "IoU_image is the mean over images, mIoU_thresholds that over the thresholds 0.50 to 0.95.",
        "",
        semantic_metrics_table(summary),
        "",
    ]


def _objects_lines(summary: Mapping[str, Any], score_threshold: float) -> list[str]:
    """COCO's table, and with masks that of the objects that a user would get."""
    if "max_dets" not in summary:
        return []
    lines = [
        "COCO average precision, every detection counted up to the limit below. bbox judges the",
        "boxes, segm the masks. AP is the mean over IoU 0.50 to 0.95, AP50 and AP75 are at one",
        "IoU; AR is the recall; s, m and l are small, medium and large objects. n/a: the data has",
        "no such objects.",
        "",
        coco_metrics_table(summary),
        "",
    ]
    if "shown" not in summary:
        return lines
    cells = [f"{summary['shown'][name]:.3f}" for name in SHOWN]
    return lines + [
        f"Objects with a score of {score_threshold:g} or more, compared with the truth at IoU 0.5,",
        "from 0 to 1; count error: objects too many or too few, mean over images.",
        "",
        tabulate([cells], headers=[*SHOWN.values()], tablefmt="pipe", disable_numparse=True),
        "",
    ]


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Label and value of the settings that the config has."""
    unused = "MODEL.ROI_MASK_HEAD.NAME" if _is_semantic(config) else "MODEL.SEM_SEG_HEAD.NAME"
    for label, key in _SETTINGS:
        if key == unused:
            continue
        value = _value(config, key)
        if value is None:
            continue
        if key == "SEED" and value < 0:
            value = "random (SEED below 0)"
        elif isinstance(value, (list, tuple)):
            value = ", ".join(str(entry) for entry in value)
        yield label, str(value) or "none"


def _value(config: Mapping[str, Any], key: str) -> Any:
    """Value of a key such as "SOLVER.MAX_ITER"; None where the config has none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _time_text(run_dir: Path, config: Mapping[str, Any]) -> str:
    log = read_training_log(run_dir)
    seconds = seconds_per_iteration(log)
    if seconds is None:
        return "not recorded"
    # the last entry is the closing evaluation's, logged under the iteration that would follow
    iterations = min(log[-1]["iteration"] + 1, config["SOLVER"]["MAX_ITER"])
    return (
        f"{seconds:.3g} s an iteration (median), about {seconds * iterations / 60:.1f} min for "
        f"{iterations} iterations, evaluation not counted"
    )

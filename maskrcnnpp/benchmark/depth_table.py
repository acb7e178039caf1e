"""Cost and quality of each depth of one checkpoint: the table of ``maskrcnnpp prune``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from maskrcnnpp.benchmark.cost import Arm, load_model, measure_inference
from maskrcnnpp.benchmark.scoring import score_predictions
from maskrcnnpp.benchmark.tables import made_with, markdown_table
from maskrcnnpp.data.named_by_file import folder_name
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.engine import Trainer, build_config
from maskrcnnpp.engine.prune import CONFIG_FILE, prune_checkpoint
from maskrcnnpp.environment import machine, versions
from maskrcnnpp.evaluation import load_coco_truth
from maskrcnnpp.evaluation.coco_evaluation import RESULTS_FILE as PREDICTIONS_FILE
from maskrcnnpp.evaluation.semantic_evaluation import read_metrics
from maskrcnnpp.files import write_bytes, write_json, write_text
from maskrcnnpp.modeling.pruning import full_depth
from maskrcnnpp.plots import new_figure, png, tidy

RECORD_FILE = "depths.json"
TABLE_FILE = "depths.md"
PICTURE_FILE = "depths.png"
# what a depth is judged by: what the table calls it, and digits after the point
_JUDGED = {
    "AP": ("mask AP", 1),
    "AP50": ("AP50", 1),
    "dsb_score": ("DSB score", 3),
    "IoU": ("IoU", 1),
    "Dice": ("Dice", 1),
    "mIoU_thresholds": ("mean IoU over thresholds", 1),
}


def measure_depths(
    cfg: CfgNode, weights_file: str, output_dir: Path, *, images: int = 20
) -> dict[str, Any]:
    """Prune a checkpoint to every depth, evaluate each and measure what it costs.

    The pruned models stay in ``output_dir``/depth1, ... AP and scores, or IoU and Dice of a
    semantic model, are of the first of DATASETS.TEST, the one that choices are made on; the score
    threshold of the DSB score is tuned there too, for each depth.

    Args:
        images: how many latency is measured on; depths alternate image by image.

    Raises:
        ConfigError, DataError: see :func:`maskrcnnpp.engine.prune.prune_checkpoint`.
    """
    dataset = cfg.DATASETS.TEST[0]
    judge = _judged_by_pixels if is_semantic(cfg) else _judged_by_objects
    folders = {d: output_dir / f"depth{d}" for d in range(1, full_depth(cfg) + 1)}
    for depth, folder in folders.items():  # all before the first is evaluated: one may not be there
        prune_checkpoint(cfg, weights_file, depth, folder)
    arms = []
    rows = []
    for depth, folder in tqdm(folders.items(), desc="depths", unit="depth"):
        arms.append(evaluate_pruned(f"L{depth}", folder, [dataset]))
        rows.append({"depth": depth, **judge(cfg, folder)})
    costs = measure_inference(arms, images=images)
    for row, arm in zip(rows, arms):
        cost = costs[arm.name]
        row["parameters"] = cost["parameters"]["total"]
        row["flops"] = cost["flops"]["total"]
        row["latency"] = cost["latency"]["total"]
        row["peak_memory"] = cost["peak_memory"]
    return {
        "weights": weights_file,
        "dataset": dataset,
        "metric": "IoU" if is_semantic(cfg) else "AP",
        "image_size": costs[arms[0].name]["image_size"],
        "images": costs[arms[0].name]["images"],
        "machine": machine(),
        "versions": versions(),
        "depths": rows,
    }


def _judged_by_objects(cfg: CfgNode, folder: Path) -> dict[str, float]:
    dataset = cfg.DATASETS.TEST[0]
    predictions = folder / "inference" / folder_name(dataset) / PREDICTIONS_FILE
    scored = score_predictions(
        load_coco_truth(MetadataCatalog.get(dataset).json_file),
        json.loads(predictions.read_text(encoding="utf-8")),
        max_dets=cfg.TEST.DETECTIONS_PER_IMAGE,
        area_bins=list(cfg.TEST.AREA_BINS),
    )
    segm, shown = scored.metrics["segm"], scored.metrics["shown"]
    return {"AP": segm["AP"], "AP50": segm["AP50"], "dsb_score": shown["dsb_score"]}


def _judged_by_pixels(cfg: CfgNode, folder: Path) -> dict[str, float]:
    found = read_metrics(folder, cfg.DATASETS.TEST[0])
    return {name: found[name] for name in ("IoU", "Dice", "mIoU_thresholds")}


def evaluate_pruned(name: str, folder: Path, datasets: Sequence[str]) -> Arm:
    """Evaluate what :func:`maskrcnnpp.engine.prune.prune_checkpoint` wrote to ``folder``, into it.

    Args:
        name: of the arm that is returned.
        datasets: registered names.
    """
    config_file = str(folder / CONFIG_FILE)
    cfg = build_config(config_file, ["DATASETS.TEST", str(tuple(datasets))])
    Trainer.test(cfg, load_model(cfg, cfg.MODEL.WEIGHTS))
    return Arm(name, config_file, cfg.MODEL.WEIGHTS)


def recommended(
    rows: Sequence[Mapping[str, Any]],
    *,
    metric: str = "AP",
    max_ap_drop: float | None = None,
    max_latency: float | None = None,
) -> Mapping[str, Any] | None:
    """The depth to choose: the fastest that loses little, or the best that is fast enough.

    Args:
        metric: "AP", or "IoU" of a semantic model.
        max_ap_drop: of it, that may be lost against the full depth, in points. Of the depths that
            lose no more the fastest is taken.
        max_latency: milliseconds an image. Slower depths are out; without ``max_ap_drop`` the best
            one is taken.

    Returns:
        A row, or None where no depth will do.
    """
    full = rows[-1]
    allowed = [
        row
        for row in rows
        if (max_latency is None or 1000 * row["latency"][0] <= max_latency)
        and (max_ap_drop is None or full[metric] - row[metric] <= max_ap_drop)
    ]
    if not allowed:
        return None
    if max_ap_drop is None:
        return max(allowed, key=lambda row: row[metric])
    return min(allowed, key=lambda row: row["latency"][0])


def recommendation(
    rows: Sequence[Mapping[str, Any]],
    *,
    metric: str = "AP",
    max_ap_drop: float | None = None,
    max_latency: float | None = None,
) -> str:
    """:func:`recommended` in a sentence; empty where nothing was asked for."""
    asked = []
    if max_ap_drop is not None:
        asked.append(f"at most {max_ap_drop:g} {metric} below the full depth")
    if max_latency is not None:
        asked.append(f"at most {max_latency:g} ms an image")
    if not asked:
        return ""
    row = recommended(rows, metric=metric, max_ap_drop=max_ap_drop, max_latency=max_latency)
    if row is None:
        return f"No depth is {' and '.join(asked)}."
    speed = row["latency"][0] / rows[-1]["latency"][0]
    value, difference = row[metric], row[metric] - rows[-1][metric]
    return (
        f"Recommended, {' and '.join(asked)}: L{row['depth']}, {metric} {value:.1f} "
        f"({difference:+.1f}), {speed:.2f} of the full depth's time."
    )


def depth_table(results: Mapping[str, Any]) -> str:
    """A row a depth, as Markdown; costs also in multiples of the full depth's."""
    full = results["depths"][-1]
    judged = {name: shown for name, shown in _JUDGED.items() if name in full}
    rows = []
    for row in results["depths"]:
        latency, full_latency = row["latency"][0], full["latency"][0]
        rows.append(
            [
                f"L{row['depth']}",
                *(f"{row[name]:.{digits}f}" for name, (_, digits) in judged.items()),
                f"{row['parameters'] / 1e6:.2f}",
                f"{row['flops'] / 1e9:.2f}",
                f"{1000 * latency:.0f}",
                f"{latency / full_latency:.2f}",
                f"{row['peak_memory']:.0f}",
            ]
        )
    headers = ["depth", *(title for title, _ in judged.values())]
    headers += ["M parameters", "G multiply-adds"]
    headers += ["ms an image", "of the full depth", "peak memory, MiB"]
    return markdown_table(headers, rows)


def write_depths(output_dir: Path, results: Mapping[str, Any], choice: str = "") -> None:
    """Write depths.json, depths.md and depths.png."""
    height, width = results["image_size"]
    metric = results["metric"]
    lines = [
        "# What each depth costs and gives",
        "",
        f"One checkpoint, `{results['weights']}`, pruned to each depth; {results['dataset']}. "
        f"Latency is the median of {results['images']} images, depths alternating image by image; "
        f"multiply-adds are of one {height}x{width} image"
        + (", and depend on how many objects a depth finds in it." if metric == "AP" else "."),
        "",
        depth_table(results),
        "",
        *([choice, ""] if choice else []),
        f"![{_JUDGED[metric][0]} against latency, by depth]({PICTURE_FILE})",
        "",
    ]
    lines += [made_with(key, results[key]) for key in ("machine", "versions")]
    write_json(output_dir / RECORD_FILE, results, indent=1)
    write_bytes(output_dir / PICTURE_FILE, picture(results))
    write_text(output_dir / TABLE_FILE, "\n".join(lines) + "\n")


def picture(results: Mapping[str, Any]) -> bytes:
    """Mask AP, or IoU, against latency, a point a depth, as PNG."""
    rows, metric = results["depths"], results["metric"]
    figure = new_figure(5, 3.5)
    axes = tidy(figure.subplots())
    latency = [1000 * row["latency"][0] for row in rows]
    axes.plot(latency, [row[metric] for row in rows], marker="o")
    for x, row in zip(latency, rows):
        place = {"xytext": (5, -11), "textcoords": "offset points"}
        axes.annotate(f"L{row['depth']}", (x, row[metric]), **place)
    axes.set_xlabel("milliseconds an image")
    axes.set_ylabel(f"{_JUDGED[metric][0]}, {results['dataset']}")
    return png(figure)

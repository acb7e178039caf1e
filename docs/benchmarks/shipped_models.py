#!/usr/bin/env python
"""Measure a shipped model on dsb2018_test, and draw what it does well and badly.

    python docs/benchmarks/shipped_models.py --model nuclei

Writes NAME.json, NAME.md, NAME_well.jpg and NAME_badly.jpg into docs/models/, and for `nuclei`
docs/figures/nuclei.jpg, the picture of the README. Images are of DSB2018 (BBBC038), CC0.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tabulate import tabulate
from tqdm import tqdm

from maskrcnnpp import Predictor
from maskrcnnpp.benchmark.record import origin, page_text
from maskrcnnpp.benchmark.report import quote
from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.evaluation.coco_metrics import coco_average_precision
from maskrcnnpp.evaluation.instance_metrics import count_images, summarize
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.evaluation.sheet import result_rows, spread
from maskrcnnpp.files import write_bytes, write_json, write_text
from maskrcnnpp.images import open_image
from maskrcnnpp.images.display import read_rgb
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.overlaps import resolve_overlaps
from maskrcnnpp.models import CARD_FILE, DEFAULT, card_text, find_model
from maskrcnnpp.visualization import contact_sheet

DOCS = Path(__file__).resolve().parents[1]
README = DOCS.parent / "README.md"
LOWEST = 0.05  # score; COCO's AP counts what is less sure than what is shown
SHOWN = 12
METRICS = {
    "dsb_score": "DSB score",
    "accuracy@0.50": "TP/(TP+FP+FN) at .5",
    "f1": "F1 at .5",
    "pq": "PQ",
    "count_error": "count error",
}


def measure(name: str, truth: dict[str, Any], root: Path) -> tuple[dict[str, Any], list[dict]]:
    """The record, and the objects that are shown as COCO results."""
    options = find_model(name).options
    ranked, shown = [], []
    predictor = Predictor.load(name, score_threshold=LOWEST, overlaps="keep", progress=False)
    scales = {}
    for image in tqdm(truth["images"], desc=name):
        with open_image(root / image["file_name"]) as raster:
            raster.choose(range(3))
            objects = predictor(raster)
        scales[str(objects.scale)] = scales.get(str(objects.scale), 0) + 1
        ranked += objects.to_coco(image["id"])
        sure = [entry for entry in objects if entry.score >= options["score_threshold"]]
        shown += Objects(resolve_overlaps(sure), *objects.image_size).to_coco(image["id"])
    counts = count_images(find_overlaps(truth, shown, max_dets=5000), options["score_threshold"])
    record = {
        "model": find_model(name).title,
        "dataset": "dsb2018_test",
        "images": len(truth["images"]),
        "objects": len(truth["annotations"]),
        "found": len(shown),
        "score_threshold": options["score_threshold"],
        "scales": scales,
        **{kind: coco_average_precision(truth, ranked, kind, 500, (160, 470))
           for kind in ("segm", "bbox")},
        **{key: summarize(counts)[key] for key in METRICS},
        "dsb_score_of_images": [round(float(x), 4) for x in counts.dsb_scores()],
        **origin("onnxruntime"),
    }  # fmt: skip
    return record, shown


def keep_in_card(name: str, record: dict[str, Any]) -> None:
    """Write the metrics into the card of the model."""
    path = find_model(name).folder / CARD_FILE
    card = yaml.safe_load(path.read_text(encoding="utf-8"))
    values = {"mask AP": record["segm"]["AP"], "box AP": record["bbox"]["AP"]}
    card["metrics"] = {"images": f"{record['images']} of {record['dataset']}"}
    card["metrics"] |= {key: round(float(value), 1) for key, value in values.items()}
    card["metrics"] |= {about: round(record[key], 3) for key, about in METRICS.items()}
    write_text(path, yaml.safe_dump(card, sort_keys=False, width=90))


def sentence() -> str:
    """For the README, of what was measured of the default model."""
    record = json.loads(_record_file(DEFAULT).read_text(encoding="utf-8"))
    text = (
        f"The shipped model `{record['model']}`, trained on its train and val images, has a mask "
        f"AP of {record['segm']['AP']:.1f} and a DSB score of {record['dsb_score']:.3f} on the "
        f"{record['images']} test images ([its page](docs/models/{DEFAULT}.md))."
    )
    return textwrap.fill(text, 108, break_on_hyphens=False)


def page(record: dict[str, Any], card: str) -> str:
    segm, bbox = record["segm"], record["bbox"]
    rows = [[f"mask {key}", f"{segm[key]:.1f}"] for key in ("AP", "AP50", "AP75")]
    rows += [["box AP", f"{bbox['AP']:.1f}"]]
    rows += [[about, f"{record[key]:.3f}"] for key, about in METRICS.items()]
    name = record["model"].split()[0]
    lines = [f"# The model {record['model']}", "", "```text", card, "```", ""]
    lines += [f"Measured on {record['dataset']}, {record['images']} images that it was not trained"]
    lines += [f"on, with {record['objects']} nuclei; {record['found']} are shown from score"]
    lines += [f"{record['score_threshold']} on. The last five metrics are of these.", ""]
    lines += [tabulate(rows, ["metric", ""], tablefmt="pipe", disable_numparse=True), ""]
    lines += ["## What it does well", "", "Twelve of the better half of the images, by DSB score."]
    lines += ["", f"![Twelve images, truth and prediction]({name}_well.jpg)", ""]
    lines += ["## What it does badly", "", "The twelve images with the lowest DSB scores.", ""]
    lines += [f"![Twelve images, truth and prediction]({name}_badly.jpg)", ""]
    return page_text(lines, record)


def of_each_kind(
    images: Sequence[dict[str, Any]], truth: dict[str, Any], root: Path
) -> list[dict[str, Any]]:
    """Two grey images and two with colour, with many nuclei that are not large.

    Args:
        images: by rising DSB score; of each kind the better half is drawn from.
    """
    many = [image for image in images if 20 <= _count(truth, image) and image["width"] <= 400]
    coloured = [image for image in many if _has_colour(read_rgb(root / image["file_name"]))]
    grey = [image for image in many if image not in coloured]
    return [picked for kind in (grey, coloured) for picked in spread(kind[len(kind) // 2 :], 2)]


def _count(truth: dict[str, Any], image: dict[str, Any]) -> int:
    return sum(annotation["image_id"] == image["id"] for annotation in truth["annotations"])


def _has_colour(pixels: np.ndarray) -> bool:
    return float(np.ptp(pixels.astype(int), axis=2).mean()) > 5


def draw(
    path: Path,
    truth: dict[str, Any],
    chosen: Sequence[dict[str, Any]],
    root: Path,
    shown: list[dict],
    width: int = 256,
) -> None:
    sheet = contact_sheet(result_rows(truth, chosen, root, shown, 0.0), width)
    _, data = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    write_bytes(path, data.tobytes())


def _record_file(name: str) -> Path:
    return DOCS / "models" / f"{name}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--page-only", action="store_true", help="only draw the page again")
    args = parser.parse_args()
    folder, name = DOCS / "models", args.model
    folder.mkdir(exist_ok=True)
    record_file = _record_file(name)
    if not args.page_only:
        data = Path(datasets_root()) / "dsb2018"
        root = data / "images"
        truth = load_coco_truth(data / "annotations" / "instances_test.json")
        record, shown = measure(name, truth, root)
        write_json(record_file, record, indent=1)
        order = np.argsort(record["dsb_score_of_images"], kind="stable")
        better = order[len(order) // 2 :]
        well = [better[k * len(better) // SHOWN] for k in range(SHOWN)]
        images = truth["images"]
        draw(folder / f"{name}_well.jpg", truth, [images[k] for k in well], root, shown)
        badly = [images[k] for k in order[:SHOWN]]
        draw(folder / f"{name}_badly.jpg", truth, badly, root, shown)
        if name == DEFAULT:
            few = of_each_kind([images[k] for k in order], truth, root)
            draw(DOCS / "figures" / "nuclei.jpg", truth, few, root, shown)
    record = json.loads(record_file.read_text(encoding="utf-8"))
    keep_in_card(name, record)
    write_text(README, quote(README.read_text(encoding="utf-8"), DEFAULT, sentence()))
    write_text(folder / f"{name}.md", page(record, card_text(find_model(name))))


if __name__ == "__main__":
    with exit_on_user_error():
        main()

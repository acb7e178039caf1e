#!/usr/bin/env python
"""Measure how the objects that a model finds depend on the size of tiles, and so on its norms.

    python docs/benchmarks/tile_sizes.py --run-dir OUTPUT_DIR [OUTPUT_DIR ...]

Each folder is a training on DSB2018. Its model predicts the images of dsb2018_val of 512 pixels or
more on the shorter side, whole and in tiles. Writes tile_sizes.json and tile_sizes.md beside this
file. Images are of the validation set: nothing is claimed of a model's quality.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from maskrcnnpp import Predictor
from maskrcnnpp.benchmark.record import origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.evaluation import load_coco_truth
from maskrcnnpp.evaluation.instance_metrics import count_images, summarize
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.images import open_image

RECORD, PAGE = record_files(__file__)
SHORTEST_SIDE, TILES, OVERLAP, SCORE = 512, (4096, 512, 256, 192), 64, 0.5

INTRODUCTION = f"""\
# Objects by the size of tiles

The same images, whole and in tiles that share {OVERLAP} pixels, at score {SCORE}. GN normalizes
each tile by itself, so that a tile of background looks different to the model than the same place
in a whole image. Frozen batch norm of a pretrained encoder does not depend on the tile; the pyramid
has GN in both. "Beside whole" is F1 at IoU 0.5 between the objects in tiles and those of
the whole image: what tiles change, seams included. The models also differ in their encoders and in
how long they were trained: compare the rows of a model with each other, not the models' quality.
"""


def measure(run_dir: Path, truth: dict[str, Any], root: Path) -> list[dict[str, Any]]:
    cfg = build_config(str(run_dir / "config.yaml"))
    found, whole = [], None
    for tile in TILES:
        predictor = Predictor.load(
            run_dir / "config.yaml",
            run_dir / "model_final.pth",
            tile_size=tile,
            overlap=OVERLAP,
            score_threshold=SCORE,
            progress=False,
        )
        results = []
        for image in tqdm(truth["images"], desc=f"{run_dir.name}, tiles of {tile}"):
            with open_image(root / image["file_name"]) as raster:
                raster.choose(range(3))
                results += predictor(raster).to_coco(image["id"])
        if whole is None:
            whole = as_truth(truth, results)
        row = {"tile": tile, "objects": len(results), "truth": len(truth["annotations"])}
        row |= {"accuracy": score(truth, results)["accuracy@0.50"]}
        row |= {"beside_whole": score(whole, results)["f1"]}
        found.append(row)
    encoder = f"{cfg.MODEL.TIMM.NAME}, {cfg.MODEL.TIMM.NORM}" if cfg.MODEL.TIMM.NAME else ""
    encoder = encoder or f"ResNet-{cfg.MODEL.RESNETS.DEPTH}, {cfg.MODEL.RESNETS.NORM}"
    return [{"encoder": encoder, "iterations": cfg.SOLVER.MAX_ITER, **row} for row in found]


def as_truth(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    annotations = [{**r, "id": k, "iscrowd": 0} for k, r in enumerate(results, start=1)]
    return {**truth, "annotations": annotations}


def score(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    return summarize(count_images(find_overlaps(truth, results, max_dets=5000), SCORE))


def large_images(truth: dict[str, Any]) -> dict[str, Any]:
    """The truth of the images that are larger than a tile."""
    images = [i for i in truth["images"] if min(i["height"], i["width"]) >= SHORTEST_SIDE]
    ids = {image["id"] for image in images}
    kept = [a for a in truth["annotations"] if a["image_id"] in ids]
    return {**truth, "images": images, "annotations": kept}


def page(record: dict[str, Any]) -> str:
    rows = [
        [
            row["encoder"],
            row["iterations"],
            "whole" if row["tile"] == TILES[0] else f"{row['tile']}",
            row["objects"],
            row["truth"],
            f"{row['accuracy']:.3f}",
            f"{row['beside_whole']:.3f}",
        ]
        for row in record["rows"]
    ]
    headers = ["encoder, norm", "iterations", "tile", "objects", "true objects"]
    headers += ["TP/(TP+FP+FN) at .5", "F1 beside whole"]
    table = markdown_table(headers, rows, words=len(headers))
    return page_text([INTRODUCTION, table, ""], record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run-dir", nargs="+", type=Path, help="default: only draw the page again")
    args = parser.parse_args()
    if not args.run_dir:
        write_text(PAGE, page(json.loads(RECORD.read_text(encoding="utf-8"))))
        return
    folder = Path(datasets_root()) / "dsb2018"
    truth = large_images(load_coco_truth(folder / "annotations" / "instances_val.json"))
    rows = [row for run_dir in args.run_dir for row in measure(run_dir, truth, folder / "images")]
    record = {"rows": rows, **origin()}
    write_json(RECORD, record, indent=1)
    write_text(PAGE, page(record))


if __name__ == "__main__":
    with exit_on_user_error():
        main()

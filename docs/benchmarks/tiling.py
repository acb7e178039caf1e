#!/usr/bin/env python
"""Measure prediction in tiles: what becomes of objects at seams, memory, and time by stage.

    make demo
    python docs/benchmarks/tiling.py --dsb2018-run output/quick/maskrcnnpp_R_18_nested_fpn

writes tiling.json and tiling.md beside this file. Images are drawn (synthetic nuclei, as dense as
100,000 on 16384x16384); every size is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from maskrcnnpp import Predictor
from maskrcnnpp.benchmark.cost import in_own_process, peak_resident
from maskrcnnpp.benchmark.record import origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.convert.synthetic import generate_nuclei
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.evaluation.matching import match
from maskrcnnpp.evaluation.overlaps import Overlaps, find_overlaps
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.images import open_image
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import Detection, Tile, tile_image
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info

RECORD, PAGE = record_files(__file__)
DENSITY = 100_000 / 16384**2  # nuclei a pixel
SIDES = (4096, 8192, 16384)
SEAM_IMAGES, SEAM_SIDE, SEAM_TILE, SEAM_OVERLAP, SEAM_IOU = 20, 1024, 256, 64, 0.8
MOVED = 21  # pixels: no multiple of a stride, as places of tiles
FORMATS = ("labels", "csv", "overlay")  # those of tools/predict.py where none is named
#: So that neither the proposals nor the detections of a dense tile are cut short.
OPTS = ["MODEL.RPN.PRE_NMS_TOPK_TEST", "2000", "MODEL.RPN.POST_NMS_TOPK_TEST", "2000"]
OPTS += ["TEST.DETECTIONS_PER_IMAGE", "1000"]
STAGES = ("reading", "model", "masks", "writing")


class Stages:
    """Seconds by stage. What a stage calls of another counts there only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def within(self, name: str, function: Callable) -> Callable:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return timed

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


def draw(path: Path, side: int) -> None:
    """A picture as a tiled, compressed TIFF."""
    image, _ = generate_nuclei(side, side, side, round(DENSITY * side**2))
    tifffile.imwrite(path, image, tile=(512, 512), compression="zlib")


def measure(model: Mapping[str, Any], path: Path, more_formats: Sequence[str]) -> dict[str, Any]:
    """One image from file to files; then how long other formats take."""
    stages = Stages()
    predictor = Predictor.load(**model)
    predictor.model.inference = stages.within("model", predictor.model.inference)
    with (
        tempfile.TemporaryDirectory() as folder,
        stages.stage("reading"),
        open_image(path) as raster,
    ):
        raster.region = stages.within("reading", raster.region)
        with stages.stage("masks"):
            objects = predictor(raster)

        def write(name: str) -> float:
            before = time.perf_counter()
            info = Info(path.name, raster, Naming(["nucleus"], [1]))
            with stages.stage("writing"):
                WRITERS[name].write(objects, info, Path(folder, f"a{WRITERS[name].ending}"))
            return round(time.perf_counter() - before, 2)

        by_format = {name: write(name) for name in FORMATS}
        seconds = {name: round(stages.seconds[name], 2) for name in STAGES}
        peak = round(peak_resident())
        by_format |= {name: write(name) for name in more_formats}
    options = predictor.options
    tiles = tile_image(raster.height, raster.width, options.tile_size, options.overlap)
    return {
        "side": raster.width,
        "tiles": len(tiles),
        "objects": len(objects),
        "seconds": seconds,
        "by_format": by_format,
        "peak_mebibytes": peak,
    }


def drawn_images() -> Iterator[np.ndarray]:
    for seed in range(SEAM_IMAGES):
        yield generate_nuclei(seed, SEAM_SIDE, SEAM_SIDE, round(DENSITY * SEAM_SIDE**2))[0]


def real_images() -> Iterator[np.ndarray]:
    """Those of DSB2018 that have the size, of all splits: it is not accuracy that is measured."""
    root = datasets_root() / "dsb2018"
    for path in sorted(root.glob("images/**/*.png")):
        with open_image(path) as raster:
            if raster.shape[:2] == (SEAM_SIDE, SEAM_SIDE):
                yield raster.region(0, 0, SEAM_SIDE, SEAM_SIDE)


def measure_seams(model: Mapping[str, Any], which: str) -> list[dict[str, int]]:
    """The same images whole, in tiles and, to compare with, whole but moved by some pixels."""
    whole = Predictor.load(**model, tile_size=SEAM_SIDE + 64, overlap=0, progress=False)
    tiled = Predictor.load(**model, tile_size=SEAM_TILE, overlap=SEAM_OVERLAP, progress=False)
    rows = []
    for image in {"synthetic": drawn_images, "DSB2018": real_images}[which]():
        one, other, moved = whole(image), tiled(image), _moved(whole, image)
        overlaps, control = _overlaps(one, other), _overlaps(one, moved)
        rows.append(
            {
                "whole": len(one),
                "tiled": len(other),
                "matched": len(match(overlaps, SEAM_IOU)),
                "cut": _cut(overlaps, one, other),
                "moved": len(moved),
                "moved_matched": len(match(control, SEAM_IOU)),
                "moved_cut": _cut(control, one, moved),
            }
        )
        print(rows[-1], flush=True)
    return rows


def _moved(predictor: Predictor, image: np.ndarray) -> Objects:
    """Of the image with a mirrored margin at the top and left, and moved back."""
    margin = ((MOVED, 0), (MOVED, 0)) + ((0, 0),) * (image.ndim - 2)
    found = predictor(np.pad(image, margin, mode="reflect"))
    inside = Tile(MOVED, MOVED, *found.image_size)
    moved = []
    for entry in found:
        if part := entry.within(inside):
            place, pixels = part
            top, left = place.top - MOVED, place.left - MOVED
            moved.append(Detection(entry.box, entry.score, entry.category, pixels, top, left))
    moved = [entry for entry in moved if entry.area > 0]
    return Objects(moved, *image.shape[:2])


def _overlaps(truth: Objects, found: Objects) -> Overlaps:
    height, width = truth.image_size
    annotations = [
        {**entry, "id": number, "iscrowd": 0, "area": 1.0}
        for number, entry in enumerate(truth.to_coco(1), start=1)
    ]
    data = {
        "images": [{"id": 1, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    return find_overlaps(data, found.to_coco(1), max_dets=10**6)


def _cut(overlaps: Overlaps, whole: Objects, tiled: Objects, reach: int = 2, more: int = 4) -> int:
    """Objects that end within ``reach`` pixels of a tile's side inside the image, while the object
    of the whole image that they overlap most goes on for ``more`` pixels there."""
    tiles = tile_image(SEAM_SIDE, SEAM_SIDE, SEAM_TILE, SEAM_OVERLAP)
    lines = {"top": {t.top for t in tiles} - {0}, "bottom": {t.bottom for t in tiles} - {SEAM_SIDE}}
    count = 0
    pairs = zip(overlaps.pair_detection, overlaps.pair_truth, overlaps.iou)
    best: dict[int, tuple[float, int]] = {}
    for detection, truth, iou in pairs:
        best[detection] = max(best.get(detection, (0.0, -1)), (iou, truth))
    # both are by falling score, as the objects are
    for detection, (_, truth) in best.items():
        ours, theirs = tiled.detections[detection], whole.detections[truth]
        count += any(
            [
                _near(ours.top, lines["top"], reach) and theirs.top <= ours.top - more,
                _near(ours.left, lines["top"], reach) and theirs.left <= ours.left - more,
                _near(ours.bottom, lines["bottom"], reach) and theirs.bottom >= ours.bottom + more,
                _near(ours.right, lines["bottom"], reach) and theirs.right >= ours.right + more,
            ]
        )
    return count


def _near(place: int, lines: set[int], reach: int) -> bool:
    return any(abs(place - line) <= reach for line in lines)


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    model = {"config_file": args.config_file, "weights": args.weights, "opts": OPTS}
    found: dict[str, Any] = {}
    if args.part != "seams":
        found["sizes"] = measure_sizes(model)
    if args.part != "sizes":
        found["seams"] = {"synthetic": in_own_process(measure_seams, model, "synthetic")}
        if run := args.dsb2018_run:
            real = {"config_file": run / "config.yaml", "weights": run / "model_final.pth"}
            found["seams"]["DSB2018"] = in_own_process(
                measure_seams, {**real, "opts": OPTS}, "DSB2018"
            )
    return {**found, "opts": OPTS, **origin("tifffile", "zarr")}


def measure_sizes(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            path = Path(folder, f"{side}.tif")
            in_own_process(draw, path, side)
            more = tuple(name for name in WRITERS if name not in FORMATS) if not rows else ()
            rows.append(in_own_process(measure, model, path, more))
            print(rows[-1], flush=True)
            path.unlink()
    return rows


def _f1(rows: Sequence[Mapping[str, int]], other: str, matched: str) -> str:
    """Over the objects of all images."""
    total = {key: sum(row[key] for row in rows) for key in ("whole", other, matched)}
    return f"{2 * total[matched] / (total['whole'] + total[other]):.3f}"


def seam_rows(found: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, images in found["seams"].items():
        total = {key: sum(row[key] for row in images) for key in images[0]}
        rows.append(
            [
                name,
                *map(str, (len(images), total["whole"], total["tiled"])),
                _f1(images, "tiled", "matched"),
                _f1(images, "moved", "moved_matched"),
                *map(str, (total["cut"], total["moved_cut"])),
            ]
        )
    return rows


def size_rows(found: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for row in found["sizes"]:
        seconds = row["seconds"]
        total, megapixels = sum(seconds.values()), row["side"] ** 2 / 1e6
        rows.append(
            [
                f"{row['side']}x{row['side']}",
                *map(str, (row["tiles"], row["objects"])),
                *(f"{seconds[name]:.1f}" for name in STAGES),
                f"{(1 - seconds['model'] / total):.0%}",
                f"{total / megapixels:.3f}",
                f"{megapixels / total:.2f}",
                f"{row['objects'] / total:.0f}",
                str(row["peak_mebibytes"]),
            ]
        )
    return rows


def _seams(found: Mapping[str, Any]) -> list[str]:
    headers = ["images", "number", "objects, whole", "in tiles", "F1", "F1, moved"]
    headers += ["cut", "cut, moved"]
    return [
        "## Seams",
        "",
        f"Images of {SEAM_SIDE}x{SEAM_SIDE} pixels, whole and in tiles of {SEAM_TILE} that share",
        f"{SEAM_OVERLAP}: F1 between the two at IoU {SEAM_IOU}. Beside it the F1 between the",
        f"image and itself moved by {MOVED} pixels, both whole: what a model differs by without",
        "a seam. Cut: objects that end at a tile's side while that of the whole image goes on;",
        "in the moved image nothing is at these places, and what is counted there is chance.",
        "",
        markdown_table(headers, seam_rows(found)),
        "",
    ]


def _sizes(found: Mapping[str, Any]) -> list[str]:
    headers = ["image", "tiles", "objects", *(f"{name}, s" for name in STAGES)]
    headers += ["not model", "s/megapixel", "megapixels/s", "objects/s", "peak, MiB"]
    by_format = found["sizes"][0]["by_format"].items()
    return [
        "## Size",
        "",
        "From a tiled TIFF to a label image, a table and an overlay; tiles of up to 1024 pixels",
        "that share 128. Every row is a process of its own, and its peak that of the process.",
        "",
        markdown_table(headers, size_rows(found)),
        "",
        f"Seconds by format at {SIDES[0]}x{SIDES[0]}, reading again what they need: "
        + ", ".join(f"{name} {seconds:.1f}" for name, seconds in by_format)
        + ".",
        "",
    ]


def page(found: Mapping[str, Any]) -> str:
    lines = [
        "# Prediction in tiles",
        "",
        "Written by `python docs/benchmarks/tiling.py` with the model of `make demo`. With",
        "`--dsb2018-run` also on real images, with a model that was trained on such.",
        "",
        *(_seams(found) if "seams" in found else []),
        *(_sizes(found) if "sizes" in found else []),
        f"Settings: {' '.join(found['opts'])}.",
        "",
    ]
    return page_text(lines, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config-file", type=Path, default=Path("output/demo/run/config.yaml"))
    parser.add_argument("--weights", type=Path, default=Path("output/demo/run/model_final.pth"))
    parser.add_argument(
        "--dsb2018-run", type=Path, metavar="DIR", help="OUTPUT_DIR of a training on DSB2018"
    )
    parser.add_argument("--part", choices=["seams", "sizes"], help="keep the other as it is")
    parser.add_argument("--page-only", action="store_true", help="draw up the page anew")
    args = parser.parse_args()
    if not args.page_only:
        before = json.loads(RECORD.read_text(encoding="utf-8")) if args.part else {}
        write_json(RECORD, {**before, **measure_all(args)}, indent=1)
    write_text(PAGE, page(json.loads(RECORD.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Write MODEL_ZOO.md from the results.json files of this folder.

python docs/benchmarks/model_zoo.py
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from maskrcnnpp.benchmark.report import provenance
from maskrcnnpp.benchmark.results import RESULTS_FILE, datasets, load
from maskrcnnpp.benchmark.tables import verdict, zoo_table
from maskrcnnpp.files import write_text

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("docs/benchmarks")
PAGE = ROOT / "MODEL_ZOO.md"

INTRODUCTION = """\
# Model zoo

Every config that is compared, with what it reached on the test images of DSB2018 ([data and
split](datasets/README.md)). The page is written by `python docs/benchmarks/model_zoo.py` from the
results.json of each benchmark. Of these trainings no weights are kept: each section says how to
repeat them. The model that comes with the package is [nuclei](docs/models/nuclei.md).

How to read the tables:

- A row names its config. Values are means over seeds, in brackets their standard deviation (n - 1).
- AP is COCO's, in percent, counting as many detections an image as the config lets the model give.
  TP/(TP+FP+FN) and its mean over IoU 0.5:0.95 are what StarDist and Cellpose call AP; the DSB score
  is the latter, image by image. They, PQ and AJI are of the objects above a score threshold that
  each training tunes on validation images.
- "latency" and "training step" are medians in multiples of stock's, measured side by side.
- Arms differ in the pyramid and the mask head only. GN has Detectron2's 32 groups, and groups of
  two channels in rows of the grid that are narrower than 64.
- Whether a difference holds up is in the report of each section, not in this table.
- A row without seeds has not been run yet.
- `mask_rcnn_wide` is stock, widened to the parameters of Mask R-CNN++; `mask_rcnn_twofold` is stock
  on enlarged images. `mask_rcnn_L1` to `L3` are stock on the encoder stages of a smaller depth, and
  `isolated_L1` to `L3` Mask R-CNN++ of that depth, trained alone. `plain` is a U-Net-like decoder
  and `unetplus` UNet+ on the same rows. `dense` has all nodes of the finest row.
"""


@dataclass(frozen=True)
class Section:
    title: str
    words: str
    folder: Path  #: of the benchmark's results.json, once there is one
    config_files: list[str]

    def text(self) -> str:
        path = ROOT / self.folder / RESULTS_FILE
        results = load(path) if path.is_file() else None
        lines = [f"## {self.title}", "", self.words, ""]
        if results:
            lines += [f"{verdict(results)} [The whole report]({self.folder / 'report.md'}).", ""]
        lines += [zoo_table(results, self.config_files), ""]
        if results:
            size = results["evaluation"]["datasets"][datasets(results)[-1]]
            lines += [f"{datasets(results)[-1]}: {size['images']} images."]
            lines += ["", provenance(results), ""]
        else:
            lines += ["Not run yet. To run it:", "", "```sh", self.command(), "```", ""]
        return "\n".join(lines)

    def command(self) -> str:
        words = ["maskrcnnpp", "benchmark", "--output-dir", f"output/{self.folder.name}"]
        words += ["--seeds", "0", "1", "2", "--config-file", *self.config_files]
        return shlex.join(words) + JUDGED_ON_TEST


def arms(*controls: str) -> list[str]:
    """Config files from stock to Mask R-CNN++, which comes last: it is the one that is judged."""
    return [
        "configs/cpu/mask_rcnn_lite0_FPN.yaml",
        *(f"configs/benchmark/lite0/{name}.yaml" for name in controls),
        "configs/cpu/maskrcnnpp_lite0_nested_fpn.yaml",
    ]


JUDGED_ON_TEST = " --opts DATASETS.TEST \"('dsb2018_val','dsb2018_test')\""
SECTIONS = (
    Section(
        "EfficientNet-Lite0, two CPU cores",
        "From ImageNet weights, 128x128 crops, 3000 iterations of 4 images.",
        HERE / "cpu",
        arms(
            *("mask_rcnn_wide", "mask_rcnn_twofold", "mask_rcnn_L1", "mask_rcnn_L2"),
            *("mask_rcnn_L3", "plain", "unetplus", "dense"),
            *("isolated_L1", "isolated_L2", "isolated_L3"),
        ),
    ),
)


def page() -> str:
    return "\n".join([INTRODUCTION, *(section.text() for section in SECTIONS)])


if __name__ == "__main__":
    write_text(PAGE, page())

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

Every config that is compared, with what it reached on the test images of DSB2018
([data and split](datasets/README.md)). The page is written by `python docs/benchmarks/model_zoo.py`
from the results.json of each benchmark. There are no weights to download: each section says how to
train its own.

How to read the tables:

- A row names its config. Values are means over seeds, in brackets their standard deviation (n - 1).
- AP is COCO's, in percent, counting as many detections an image as the config lets the model give.
  TP/(TP+FP+FN) and its mean over IoU 0.5:0.95 are what StarDist and Cellpose call AP; the DSB score
  is the latter, image by image. They, PQ and AJI are of the objects above a score threshold that
  each training tunes on validation images.
- "latency" and "training step" are medians in multiples of stock's, measured side by side.
- Arms differ in the pyramid and the mask head only. Where GN is used it has Detectron2's 32 groups,
  and groups of two channels in rows of the grid that are narrower than 64.
- Whether a difference holds up is in the report of each section, not in this table.
- A row without seeds has not been run with the present design. Controls and StarDist beside the
  design of commit 77afce9: [its report](docs/benchmarks/quick_77afce9/report.md).
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


def arms(encoder: str, pair: str, between: list[str]) -> list[str]:
    """Config files from stock to Mask R-CNN++, which comes last: it is the one that is judged."""
    return [
        f"configs/{pair}/mask_rcnn_{encoder}_FPN.yaml",
        *(f"configs/benchmark/{encoder}/{name}.yaml" for name in between),
        f"configs/{pair}/maskrcnnpp_{encoder}_embedded.yaml",
        f"configs/{pair}/maskrcnnpp_{encoder}_nested_fpn.yaml",
    ]


NESTED = ["unet_conv1", "unetplus_conv1", "dense_res2", "dense_conv1"]
JUDGED_ON_TEST = " --opts DATASETS.TEST \"('dsb2018_val','dsb2018_test')\""
SECTIONS = (
    Section(
        "ResNet-18, two CPU cores",
        "From scratch, 128x128 crops, 500 iterations of 4 images.",
        HERE / "quick",
        arms("R_18", "quick", ["mask_rcnn_wide", *NESTED]),
    ),
    Section(
        "ResNet-50, one GPU",
        "From ImageNet weights, 512x512 crops, 1000 iterations of 16 images, mixed precision. "
        "Stock has the most parameters of these, so no arm is widened.",
        HERE / "gpu",
        arms("R_50", "dsb2018", NESTED),
    ),
)


def page() -> str:
    return "\n".join([INTRODUCTION, *(section.text() for section in SECTIONS)])


if __name__ == "__main__":
    write_text(PAGE, page())

#!/usr/bin/env python
"""Write MODEL_ZOO.md from the results.json files of this folder.

python docs/benchmarks/model_zoo.py
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnnpp.benchmark.report import provenance
from maskrcnnpp.benchmark.results import RESULTS_FILE, by_arm, datasets, load, of_seeds
from maskrcnnpp.benchmark.runner import arm_name
from maskrcnnpp.benchmark.tables import arm_link, markdown_table, mean_and_sd, verdict
from maskrcnnpp.files import write_text

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("docs/benchmarks")
PAGE = ROOT / "MODEL_ZOO.md"

_COLUMNS = {
    "mask AP": ("segm", "AP", 1),
    "AP50": ("segm", "AP50", 1),
    "AP75": ("segm", "AP75", 1),
    "box AP": ("bbox", "AP", 1),
    "DSB score": ("shown", "dsb_score", 3),
    "TP/(TP+FP+FN) at 0.5": ("shown", "accuracy@0.50", 3),
    "mean 0.5:0.95": ("shown", "accuracy", 3),
    "PQ": ("shown", "pq", 3),
    "AJI": ("shown", "aji", 3),
}
INTRODUCTION = """\
# Model zoo

Every config that is compared, with what it reached on the test images of DSB2018 ([data and
split](datasets/README.md)). The page is written by `python docs/benchmarks/model_zoo.py` from the
results.json of each benchmark. Of these trainings no weights are kept: each section says how to
repeat them. With the package come [nuclei](docs/models/nuclei.md) and
[nuclei-fast](docs/models/nuclei-fast.md).

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
  and `unetplus` UNet+ on the same rows. `dense` has all nodes of the finest row, and
  `separable` nodes of 1x1 and depth-wise convolutions. `maskrcnnpp_lite0_fast` is `mask_rcnn_L2`
  whose masks set the boxes and change the scores.
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
        "configs/cpu/maskrcnnpp_lite0_fast.yaml",
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
            *("mask_rcnn_L3", "plain", "unetplus", "dense", "separable"),
            *("isolated_L1", "isolated_L2", "isolated_L3"),
        ),
    ),
)


def zoo_table(results: Mapping[str, Any] | None, config_files: Sequence[str]) -> str:
    """One row for each config and for what else was scored; a config without a run has empty cells.

    Args:
        results: of these configs, or None where nothing has been run.
        config_files: named from the checkout's folder.
    """
    links = {
        arm_name(file): arm_link(arm_name(file), {"config_file": file}) for file in config_files
    }
    dataset, arms, cost, failed, reference = "", {}, {}, {}, None
    if results:
        dataset = datasets(results)[-1]
        arms = by_arm(results, dataset)
        cost, failed = results.get("cost", {}), results.get("failed", {})
        reference = cost.get(results["reference"])
    rows = []
    for arm in dict.fromkeys([*links, *arms]):
        trials = arms.get(arm, [])
        cells = [
            mean_and_sd(of_seeds(trials, dataset, task, metric), digits) if trials else ""
            for task, metric, digits in _COLUMNS.values()
        ]
        link = links.get(arm) or arm_link(arm, trials[0])
        rows.append(
            [link, _seeds(arm, len(trials), failed), *cells, *_cost(cost.get(arm), reference)]
        )
    headers = ["config", "seeds", *_COLUMNS, "M parameters", "latency", "training step"]
    return markdown_table(headers, rows)


def _seeds(arm: str, finished: int, failed: Iterable[str]) -> str:
    # a failure is of an arm, or of "arm, seed n"
    failures = sum(name.partition(", seed ")[0] == arm for name in failed)
    words = [str(finished)] if finished else []
    return " ".join([*words, f"({failures} failed)"] if failures else words)


def _cost(found: Mapping[str, Any] | None, reference: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return ["", "", ""]
    parameters = f"{found['parameters']['total'] / 1e6:.2f}"
    if not reference:
        return [parameters, "", ""]
    latency = found["latency"]["total"][0] / reference["latency"]["total"][0]
    step = found["training"][0] / reference["training"][0]
    return [parameters, f"{latency:.2f}", f"{step:.2f}"]


def page() -> str:
    return "\n".join([INTRODUCTION, *(section.text() for section in SECTIONS)])


if __name__ == "__main__":
    write_text(PAGE, page())

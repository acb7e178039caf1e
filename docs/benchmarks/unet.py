#!/usr/bin/env python
"""The U-Net family beside the figures of the UNet++ papers: unet.md.

    python docs/benchmarks/unet.py

Reads what `maskrcnnpp benchmark` and unet_depths.py left in the folders of docs/benchmarks/unet;
the page names the commands. A folder that is not there is skipped. Also writes the
table in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskrcnnpp.benchmark.report import REPORT_FILE, quote
from maskrcnnpp.benchmark.results import (
    RESULTS_FILE,
    by_arm,
    datasets,
    difference_of,
    iou_gains,
    load,
    of_seeds,
)
from maskrcnnpp.benchmark.statistics import SIGNIFICANCE
from maskrcnnpp.benchmark.tables import difference_text, gain_cells, markdown_table, mean_and_sd
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.files import write_text

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/benchmarks/unet"
PAGE = ROOT / "docs/benchmarks/unet.md"
BASE, QUICK = "configs/semantic/Base-UNet.yaml", "configs/quick/unetpp_ds.yaml"
RESULTS_PAGE, QUOTED = ROOT / "docs/results.md", "unet"


class Row(NamedTuple):
    """A row of the papers' semantic table: IoU and sd in percent, over 20 trainings."""

    title: str
    em: tuple[float, float] | None = None
    nuclei: tuple[float, float] | None = None


#: IEEE TMI 2019, semantic segmentation, by the name of our arm. Of U-Net^e only means are given.
SEMANTIC = {
    "unet": Row("U-Net", (88.30, 0.24), (90.57, 1.26)),
    "unet_wide": Row("wide U-Net", (88.37, 0.13), (90.47, 1.15)),
    "unet_ensemble": Row("U-Net^e, DS", (88.33, 0.0)),
    "unetplus": Row("UNet+", (88.39, 0.15), (91.73, 1.09)),
    "unetplus_ds": Row("UNet+, DS", (88.89, 0.12), (92.04, 0.89)),
    "unetpp": Row("UNet++", (88.92, 0.14), (92.44, 1.20)),
    "unetpp_ds": Row("UNet++, DS", (89.33, 0.10), (92.37, 0.98)),
}
#: The same on DSB2018, four systems: IoU and Dice in percent, score of the competition.
FOUR = {
    "unet": ("U-Net", 91.03, 75.73, 0.244),
    "unetpp_ds": ("UNet++, DS", 92.55, 89.74, 0.327),
    "mask_rcnn_R_18_FPN": ("Mask R-CNN", 93.28, 87.91, 0.401),
    "maskrcnnpp_R_18_nested_fpn": ("Mask R-CNN++", 95.10, 91.36, 0.414),
}
#: What we measured of the pixels; see :func:`pixel_cells`.
PIXEL_HEADERS = ("seeds", "IoU", "gain", "p", "mean over thresholds")
#: Read off a plot: seconds for 10,000 images on a TITAN X, and IoU, of depth 1 to 4 on nuclei.
PRUNED = ((15, 91.5), (22, 92.2), (36, 92.2), (54, 92.5))
#: Read off a plot: IoU of isolated and embedded training, depth 1 to 3.
EMBEDDED_CELL = ((88.9, 90.4), (90.5, 91.15), (91.0, 91.3))
EMBEDDED_LIVER = ((71.4, 76.2), (75.6, 80.1), (77.0, 81.65))


def introduction() -> str:
    quick, full = (build_config(str(ROOT / name)) for name in (QUICK, BASE))
    rows, full_rows = (cfg.MODEL.NESTED_UNET.ROW_CHANNELS for cfg in (quick, full))
    crop, full_crop = ("x".join(map(str, cfg.INPUT.CROP.SIZE)) for cfg in (quick, full))
    return f"""\
# The U-Net family, beside the papers

Each table has what we measured and what the UNet++ papers print (IEEE TMI 2019, and the
dissertation that follows it). Ours: mean and (sd, n - 1) over seeds, on test images that nothing
was chosen on. A gain is over the same seed's training, which sees the same images, crops and
flips; p is Welch's, two-sided, as in the papers, and below {SIGNIFICANCE:g} a difference is more
than that of seeds.

Written by `python docs/benchmarks/unet.py`, from the records in [unet](unet).

## Where ours differ from the papers, and why

- **Small, for a CPU**: {rows[0]} to {rows[-1]} filters, {quick.SOLVER.MAX_ITER} iterations of
  {quick.SOLVER.IMS_PER_BATCH} crops of {crop} with {quick.SOLVER.OPTIMIZER} (theirs: Adam),
  {quick.MODEL.NESTED_UNET.NORM}. The papers: {full_rows[0]} to {full_rows[-1]} filters, no
  normalization, patches of {full_crop}, early stopping, a GPU. Absolute figures are not to be
  compared; gains of one row over another are. The papers' sizes are in
  [configs/semantic](../../configs/semantic).
- **Few seeds**, the papers have 20 trainings: what we cannot tell apart they may.
- **Data**: the EM slices and nuclei are the papers' (the 24/3/3 slices and the 50/20/30 % of the
  nuclei are drawn anew, as theirs are not published). The class of EM is the membrane; which of the
  two theirs is they do not say. Cell is private; Brain and Liver need an
  application, and their readers are here ([datasets](../../datasets/README.md)).
- **IoU**: ours is of the foreground's pixels of all test images together. The reference code
  averages over thresholds of the probability, over foreground and background; that is the column
  "mean over thresholds". Which of them a table of the papers has is not said there. In the table of
  four systems their IoU exceeds Dice, which no single mask allows (IoU = D / (2 - D)).
- **Loss**: the one named below, chosen on validation images of nuclei, the same in all rows.
"""


def papers(figure: tuple[float, float] | None) -> str:
    if figure is None:
        return ""
    mean, sd = figure
    return f"{mean:.2f}" + (f" ({sd:.2f})" if sd else "")


def read(folder: str) -> dict[str, Any] | None:
    path = FOLDER / folder / RESULTS_FILE
    return load(path) if path.is_file() else None


def pixel_cells(results: Mapping[str, Any], arm: str, dataset: str) -> list[Any]:
    """Of the columns of :data:`PIXEL_HEADERS`."""
    trials = by_arm(results, dataset, "pixels")[arm]
    iou, of_thresholds = (
        mean_and_sd(of_seeds(trials, dataset, "pixels", name))
        for name in ("IoU", "mIoU_thresholds")
    )
    gain = gain_cells(results, arm, results["reference"], dataset)
    return [len(trials), iou, *gain, of_thresholds]


def origin(results: Mapping[str, Any], folder: str) -> str:
    return f"[The report](unet/{folder}/{REPORT_FILE}); `{results['command']}`"


def semantic_part(folder: str, title: str, of_papers: str) -> list[str]:
    """The six rows of the papers on a data set, and U-Net^e."""
    results = read(folder)
    if results is None:
        return []
    dataset, reference = datasets(results)[-1], results["reference"]
    rows, better = [], []
    for arm, row in SEMANTIC.items():
        if arm not in by_arm(results, dataset, "pixels"):
            continue
        gains, p_value = iou_gains(results, arm, reference, dataset)
        if gains and np.mean(gains) > 0 and p_value < SIGNIFICANCE:
            better.append(row.title)
        rows.append(
            [
                row.title,
                f"{results['parameters'][arm] / 1e6:.2f}",
                *pixel_cells(results, arm, dataset),
                papers(getattr(row, of_papers)),
                _gain(
                    getattr(row, of_papers), getattr(SEMANTIC["unet"], of_papers), arm == reference
                ),
            ]
        )
    headers = ["", "M parameters", *PIXEL_HEADERS, "papers' IoU", "papers' gain"]
    return [
        f"## {title}",
        "",
        markdown_table(headers, rows),
        "",
        f"On {Path(dataset).stem}. Gains are over U-Net; better by more than seeds are: "
        f"{'; '.join(better) or 'none'}. {origin(results, folder)}",
        "",
    ]


def _gain(
    figure: tuple[float, float] | None, reference: tuple[float, float] | None, is_reference: bool
) -> str:
    if figure is None or reference is None or is_reference:
        return ""
    return f"{figure[0] - reference[0]:+.2f}"


def four_table(results: Mapping[str, Any]) -> str:
    """The papers' table of four systems."""
    dataset = datasets(results)[-1]
    arms = by_arm(results, dataset)
    rows = []
    for arm, (title, *figures) in FOUR.items():
        trials = arms[arm]
        iou, dice, score = (
            np.array(of_seeds(trials, dataset, "shown", name))
            for name in ("foreground_iou", "dice", "dsb_score")
        )
        cells = [mean_and_sd(100 * iou), mean_and_sd(100 * dice), mean_and_sd(score, 3)]
        cells.append(mean_and_sd(of_seeds(trials, dataset, "segm", "AP")))
        theirs = [f"{figures[0]:.2f}", f"{figures[1]:.2f}", f"{figures[2]:.3f}"]
        rows.append([title, len(trials), *cells, *theirs])
    headers = ["", "seeds", "IoU", "Dice", "DSB score", "mask AP"]
    return markdown_table([*headers, "papers' IoU", "papers' Dice", "papers' score"], rows)


def gains_table(results: Mapping[str, Any]) -> str:
    """What the nested grid brings to each of the two kinds of systems, beside the papers' gains."""
    dataset = datasets(results)[-1]
    rows = []
    for arm, other in (("unetpp_ds", "unet"), ("maskrcnnpp_R_18_nested_fpn", "mask_rcnn_R_18_FPN")):
        found = difference_of(results, arm, other, dataset)
        cells = []
        for metric, scale, digits in (("dice", 100, 1), ("dsb_score", 1, 3), ("AP", 1, 1)):
            ends = {key: scale * found[metric][key] for key in ("mean", "low", "high")}
            cells.append(difference_text({**found[metric], **ends}, digits))
        (title, _, *theirs), (other_title, _, *their_others) = FOUR[arm], FOUR[other]
        dice, score = (one - two for one, two in zip(theirs, their_others))
        cells += [f"{dice:+.2f}", f"{score:+.3f}"]
        rows.append([f"{title} - {other_title}", *cells])
    headers = ["", "Dice", "DSB score", "mask AP", "papers' Dice", "papers' score"]
    return markdown_table(headers, rows)


def four_part() -> list[str]:
    results = read("four")
    if results is None:
        return []
    return [
        "## Four systems on nuclei",
        "",
        four_table(results),
        "",
        "The gain from the nested grid, with 95 % intervals over images and seeds; bold holds up: "
        "the interval is on one side of zero and Welch's p below 0.05:",
        "",
        gains_table(results),
        "",
        f"On {datasets(results)[-1]}. Score, IoU and Dice are of the objects above a score "
        "threshold, which each training tunes on validation images; those of U-Net and UNet++ are "
        "made by a watershed. IoU and Dice are of the foreground, means over images. The papers "
        "have ResNet-101, ours ResNet-18 trained from noise. The U-Nets have their channels "
        "last in memory, as is faster for them on this machine, the Mask R-CNNs not, as is faster "
        "for these; the U-Nets also learn from images without objects, of which there are none. "
        f"{origin(results, 'four')}",
        "",
    ]


def depths_part() -> list[str]:
    """Pruning, and embedded against isolated training, beside the papers' plots."""
    found = {}
    for name in ("nuclei", "em"):
        path = FOLDER / name / "depths.json"
        if path.is_file():
            found[name] = load(path)
    if not found:
        return []
    lines = ["## Pruning, and embedded against isolated training", ""]
    headers = ["depth"]
    for name in found:
        headers += [f"IoU, {name}", "time of L4's", "embedded - isolated", "p"]
    headers += ["parameters of L4's", "papers' IoU, nuclei", "papers' time of L4's"]
    headers += ["papers' gain, Cell", "Liver"]
    rows = []
    for depth in (1, 2, 3, 4):
        row = [f"L{depth}"]
        for results in found.values():
            row += _depth_cells(results, depth)
        costs = next(iter(found.values()))["cost"]
        parts = (costs[f"L{d}"]["parameters"]["total"] for d in (depth, 4))
        row.append(f"{next(parts) / next(parts):.3f}")
        seconds, iou = PRUNED[depth - 1]
        row += [f"{iou:.1f}", f"{seconds / PRUNED[-1][0]:.2f}"]
        for gains in (EMBEDDED_CELL, EMBEDDED_LIVER):
            isolated, embedded = gains[depth - 1] if depth < 4 else (0.0, 0.0)
            row.append(f"{embedded - isolated:+.2f}" if depth < 4 else "")
        rows.append(row)
    pages = " and ".join(f"[{name}](unet/{name}/depths.md)" for name in found)
    lines += [
        markdown_table(headers, rows),
        "",
        "UNet++ with deep supervision, cut to each depth. What the papers call the memory of a "
        f"depth is its parameters. Latency, multiply-adds, memory and seeds: {pages}.",
        "",
    ]
    for name in found:
        lines += [f"![IoU by depth, {name}](unet/{name}/depths.png)", ""]
    return lines


def _depth_cells(results: Mapping[str, Any], depth: int) -> list[str]:
    dataset = datasets(results)[-1]
    embedded, isolated = (f"{kind} L{depth}" for kind in ("embedded", "isolated"))
    iou = of_seeds(by_arm(results, dataset, "pixels")[embedded], dataset, "pixels", "IoU")
    cost, full = results["cost"][f"L{depth}"], results["cost"]["L4"]
    time = cost["latency"]["total"][0] / full["latency"]["total"][0]
    gain = gain_cells(results, embedded, isolated, dataset) if depth < 4 else ["", ""]
    return [mean_and_sd(iou), f"{time:.2f}", *gain]


def loss_part() -> list[str]:
    """Losses of UNet++ on the images that the choice was made on."""
    results = read("loss")
    if results is None:
        return []
    dataset = datasets(results)[0]
    arms = by_arm(results, dataset, "pixels")
    rows = [[f"`{arm}`", *pixel_cells(results, arm, dataset)] for arm in arms]
    chosen = build_config(str(ROOT / BASE)).MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION.LOSS
    return [
        "## Choice of the loss",
        "",
        markdown_table(["loss", *PIXEL_HEADERS], rows),
        "",
        f"UNet++ with deep supervision, on {dataset}: images that no other table has. All rows "
        f"above learn by `{chosen}`. {origin(results, 'loss')}",
        "",
    ]


def page() -> str:
    lines = [introduction()]
    lines += four_part()
    lines += semantic_part("nuclei", "The papers' rows on nuclei (DSB2018)", "nuclei")
    lines += semantic_part("em", "The papers' rows on EM (ISBI 2012)", "em")
    lines += depths_part()
    lines += loss_part()
    return "\n".join(lines)


def main() -> None:
    write_text(PAGE, page())
    if results := read("four"):
        text = RESULTS_PAGE.read_text(encoding="utf-8")
        write_text(RESULTS_PAGE, quote(text, QUOTED, four_table(results)))


if __name__ == "__main__":
    with exit_on_user_error():
        main()

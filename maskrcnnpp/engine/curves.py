"""Curves of a training, from its metrics.json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from maskrcnnpp.engine.training_log import read_training_log
from maskrcnnpp.files import write_bytes
from maskrcnnpp.plots import COLORS, new_figure, plain, png, tidy

FILE = "curves.png"

Entries = Sequence[Mapping[str, Any]]


def write_curves(output_dir: str | os.PathLike) -> Path | None:
    """Draw ``OUTPUT_DIR/curves.png``: losses, AP and learning rate over iterations.

    Returns:
        its path; None where there is nothing to draw yet.

    Raises:
        OutputError: it cannot be written.
    """
    entries = read_training_log(output_dir)
    if not any("total_loss" in entry for entry in entries):
        return None
    path = Path(output_dir, FILE)
    write_bytes(path, draw_curves(entries))
    return path


def draw_curves(entries: Entries) -> bytes:
    """PNG.

    Args:
        entries: of :func:`maskrcnnpp.engine.training_log.read_training_log`.
    """
    names = dict.fromkeys(name for entry in entries for name in entry)
    parts = [name for name in names if name.startswith("loss_")]
    scores = [name for name in names if name.rsplit("/")[-1] == "AP"]
    figure = new_figure(10, 6.4)
    grid = figure.subplots(2, 2)
    total, each, ap, rate = (tidy(axes) for axes in grid.flat)
    _lines(total, entries, ["total_loss", "validation/total_loss"], "loss")
    _lines(each, entries, parts, "losses of training")
    _lines(ap, entries, scores, "AP", marker="o")
    _lines(rate, entries, ["lr"], "learning rate")
    for axes in (total, each):
        axes.set_ylim(bottom=0)
    for axes in grid[1]:
        axes.set_xlabel("iteration")
    for axes in grid.flat:
        axes.set_xlim(0, 1.03 * (entries[-1]["iteration"] + 1))
    return png(figure)


def _lines(
    axes: Axes, entries: Entries, names: Sequence[str], label: str, marker: str = ""
) -> None:
    drawn = 0
    for name in names:
        points = [(e["iteration"] + 1, e[name]) for e in entries if e.get(name) is not None]
        if not points:
            continue
        color = COLORS[drawn % len(COLORS)]
        # few points, such as of evaluations, are seen by their marks
        mark = marker or ("o" if len(points) < 15 else "")
        style = "--" if drawn >= len(COLORS) else "-"
        axes.plot(*zip(*points), style, color=color, marker=mark, ms=4, lw=1.4, label=plain(name))
        drawn += 1
    axes.set_ylabel(label)
    if drawn > 1 or (drawn and names[0] != "lr"):
        axes.legend(fontsize=7, frameon=False, ncols=2 if drawn > 4 else 1)
    if not drawn:
        axes.text(0.5, 0.5, "not evaluated yet", ha="center", transform=axes.transAxes)

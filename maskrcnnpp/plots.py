"""Plots with Matplotlib, without a screen."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Colours that colour-blind readers can tell apart (Okabe and Ito 2008).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> Axes:
    """Axes with a faint grid, and a frame on two sides only."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return axes


def plain(name: str) -> str:
    """A name as Matplotlib shows it: without formulas, and never left out of a legend."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as PNG. The same figure gives the same bytes: no date, no version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()

#!/usr/bin/env python
"""Draw the pyramid of stock Mask R-CNN beside the nested one, from the grid's own code.

python docs/figures/draw_grid.py     # writes docs/figures/grid.svg
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "grid"  # the same bytes on every run
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import FancyArrowPatch  # noqa: E402

from maskrcnnpp.modeling.nested_grid import (  # noqa: E402
    node_inputs,
    outer_diagonal,
    required_nodes,
)

DEPTH = 3
ENCODER, NODE, LEVEL = "#b8c4d6", "#f3d9a4", "#9cc9a3"
RADIUS = 0.30


def position(node):
    row, column = node
    return column + row * 0.5, -row


def draw_node(axes, at, text, color):
    axes.add_patch(plt.Circle(at, RADIUS, facecolor=color, edgecolor="#333333", zorder=3))
    axes.text(*at, text, ha="center", va="center", fontsize=10, zorder=4)


def draw_arrow(axes, start, end, bend=0.0, color="#333333"):
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=22,
            shrinkB=22,
            color=color,
            linewidth=1.2,
            zorder=2,
        )
    )


def draw_encoder(axes):
    for row in range(DEPTH + 1):
        draw_node(axes, position((row, 0)), f"res{row + 2}", ENCODER)
        if row < DEPTH:
            draw_arrow(axes, position((row, 0)), position((row + 1, 0)))


def finish(axes, title, right):
    axes.set_title(title, fontsize=12, loc="left")
    axes.set_xlim(-0.5, right)
    axes.set_ylim(-DEPTH - 0.6, 0.9)
    axes.set_aspect("equal")
    axes.axis("off")


def draw_fpn(axes):
    draw_encoder(axes)
    for row in range(DEPTH + 1):
        x, y = position((row, 0))
        level = (x + (DEPTH - row) + 1.2, y)
        draw_node(axes, level, f"p{row + 2}", LEVEL)
        draw_arrow(axes, (x, y), level, color="#4a6fa5")
        if row < DEPTH:
            below = position((row + 1, 0))
            draw_arrow(axes, (below[0] + (DEPTH - row - 1) + 1.2, below[1]), level)
    finish(axes, "Feature pyramid (stock): sums", DEPTH + 1.7)


def draw_nested(axes):
    draw_encoder(axes)
    diagonal = outer_diagonal(DEPTH)
    for node in required_nodes(diagonal, "dense"):
        row, column = node
        if column:
            draw_node(axes, position(node), f"X({row},{column})", NODE)
            *left, below = node_inputs(node, "dense")
            draw_arrow(axes, position(below), position(node))
            for source in left:
                distance = column - source[1]
                bend = 0 if distance == 1 else -0.16 - 0.07 * distance
                draw_arrow(axes, position(source), position(node), bend, "#4a6fa5")
    for row, column in diagonal:
        x, y = position((row, column))
        draw_node(axes, (x + 1.2, y), f"p{row + 2}", LEVEL)
        draw_arrow(axes, (x, y), (x + 1.2, y), color="#5a9a64")
    finish(axes, "Nested pyramid (Mask R-CNN++): dense concatenation", DEPTH + 1.7)


def main():
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6))
    draw_fpn(left)
    draw_nested(right)
    figure.tight_layout()
    path = Path(__file__).with_name("grid.svg")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()

"""The rules of the keys that the pyramid (``MODEL.NESTED_FPN``) and the U-Nets share."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from detectron2.config import CfgNode

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.blocks import NODES, node_norm
from maskrcnnpp.modeling.nested_grid import CONNECTIONS, FINE_ROWS, UPSAMPLE_MODES

#: What is given at inference: the full depth's masks, or the mean over depths.
MODES = ("pruned", "ensemble")

_CHOICES = {
    "CONNECTIONS": CONNECTIONS,
    "UPSAMPLE": UPSAMPLE_MODES,
    "FINE_ROW": FINE_ROWS,
    "NODE": NODES,
}


def checked_depth(grid: CfgNode, key: str, rows: Sequence[str] | None = None) -> int:
    """The depth that the keys of a grid ask for, with the grid's own keys checked.

    Args:
        grid: MODEL.NESTED_FPN or MODEL.NESTED_UNET.
        key: its name.
        rows: maps of the encoder, one for each row; None where ROW_CHANNELS alone tells the rows.

    Raises:
        ConfigError: a value is unknown or impossible; the message names the key.
    """
    widths = list(grid.ROW_CHANNELS)
    wanted = "two or more positive integers"
    if rows is not None:
        wanted = f"a positive integer for each of MODEL.FPN.IN_FEATURES {list(rows)}"
    count = max(2, len(widths)) if rows is None else len(rows)
    if len(widths) != count or not all(type(width) is int and width > 0 for width in widths):
        raise ConfigError(f"{key}.ROW_CHANNELS is {widths}; it needs {wanted}")
    for name, known in _CHOICES.items():
        if name in grid and grid[name] not in known:
            raise ConfigError(f"{key}.{name} is {grid[name]!r}; it can be one of {sorted(known)}")
    if grid.NUM_CONVS < 1:
        raise ConfigError(f"{key}.NUM_CONVS is {grid.NUM_CONVS}; it must be >= 1")
    deepest = count - 1
    if not 0 <= grid.DEPTH <= deepest:
        of_rows = f"{key}.ROW_CHANNELS {widths}"
        if rows is not None:
            of_rows = f"MODEL.FPN.IN_FEATURES {list(rows)}"
        raise ConfigError(
            f"{key}.DEPTH is {grid.DEPTH}; {of_rows} allows 1..{deepest} (0: {deepest})"
        )
    return grid.DEPTH or deepest


def check_grid_norm(grid: CfgNode, key: str, norm: str, norm_key: str) -> None:
    """Check that a normalization is known, and goes with the keys of a grid.

    Args:
        norm, norm_key: the normalization, and the key that names it.

    Raises:
        ConfigError: it does not; the message names the key.
    """
    if grid.CHECKPOINTING and "BN" in norm.replace("FrozenBN", ""):
        raise ConfigError(
            f"{key}.CHECKPOINTING is True with {norm_key} {norm}, which would count each batch "
            'twice: set the norm to "GN"'
        )
    try:
        for width in grid.ROW_CHANNELS:
            node_norm(norm, width)
    except KeyError as error:
        raise ConfigError(
            f"{norm_key} is {norm!r}; Detectron2 knows no such normalization"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{norm_key} is {norm}, which does not fit {key}.ROW_CHANNELS "
            f"{list(grid.ROW_CHANNELS)}: {error}"
        ) from error


def check_deep_supervision(deep: CfgNode, key: str, losses: Collection[str]) -> None:
    """Check each key of deep supervision by itself.

    Args:
        deep: MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION or MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION.
        key: its name.
        losses: that LOSS may name.

    Raises:
        ConfigError: a value is unknown or impossible; the message names the key.
    """
    are_weights = all(isinstance(w, (int, float)) and 0 <= w < math.inf for w in deep.WEIGHTS)
    rules = {
        "LOSS": (deep.LOSS in losses, f"it can be one of {sorted(losses)}"),
        "MODE": (deep.MODE in MODES, f"it can be one of {list(MODES)}"),
        "WEIGHTS": (are_weights, "weights are numbers of 0 or more"),
    }
    for name, (is_possible, rule) in rules.items():
        if not is_possible:
            raise ConfigError(f"{key}.{name} is {deep[name]!r}; {rule}")


def weighted_depths(deep: CfgNode, key: str, depth: int, grid: CfgNode, grid_key: str) -> list[int]:
    """Depths below ``depth`` whose losses have a weight.

    Raises:
        ConfigError: too few weights, or the grid has no shallower depths.
    """
    if len(deep.WEIGHTS) < depth - 1:
        raise ConfigError(
            f"{key}.WEIGHTS is {list(deep.WEIGHTS)}; a grid of depth {depth} needs a weight for "
            f"each shallower depth, {depth - 1} of them"
        )
    found = [d for d in range(1, depth) if deep.WEIGHTS[d - 1] > 0]
    if found and grid.CONNECTIONS == "plain":
        raise ConfigError(
            f"{grid_key}.CONNECTIONS is 'plain', which has no shallower depths: set {key}.WEIGHTS "
            f"to zeros, not {list(deep.WEIGHTS)}, or the connections to 'ensemble'"
        )
    return found

"""The UNet++ grid of nested, densely connected nodes. Plain PyTorch.

Node X(i,j) stands in row i (0 = finest) and column j. Column 0 is the encoder; a node with
j > 0 fuses nodes to its left in the same row with the up-sampled node below,

    X(i,j) = H([X(i,k) for k in columns(j)] + [U(X(i+1,j-1))])

and the four networks of the UNet++ papers differ only in ``columns``: see :data:`CONNECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

Node = tuple[int, int]  # (row, column)

#: Columns of its own row that node X(i,j) reads, by the name of the network's connections.
CONNECTIONS: dict[str, Callable[[int], range]] = {
    "dense": lambda j: range(j),  # UNet++: every node to the left
    "adjacent": lambda j: range(j - 1, j),  # UNet+: the nearest one
    "ensemble": lambda j: range(1),  # U-Net^e: the encoder's; one decoder a depth
    "plain": lambda j: range(1),  # U-Net: the same, of one depth
}

#: What stands for U: an interpolation, or the papers' 2x2 transposed convolution.
UPSAMPLE_MODES = ("nearest", "bilinear", "transposed")

#: Nodes of row 0 that a depth needs: those that CONNECTIONS name, or its last one alone.
FINE_ROWS = ("all", "last")


def outer_diagonal(depth: int) -> list[Node]:
    """Nodes X(i, depth-i), fine to coarse: the decoder of a network of that depth."""
    return [(row, depth - row) for row in range(depth + 1)]


def node_inputs(node: Node, connections: str, fine_row: str = "all") -> list[Node]:
    """Nodes whose maps X(i,j) concatenates, left to right, the one below last.

    Column 0 is the encoder's and reads no node. With ``fine_row`` "last" a node of row 0 reads the
    encoder's of its row, and none between.
    """
    row, column = node
    if column == 0:
        return []
    if row == 0 and fine_row == "last":
        connections = "plain"
    left = [(row, k) for k in CONNECTIONS[connections](column)]
    return [*left, (row + 1, column - 1)]


def required_nodes(wanted: Iterable[Node], connections: str, fine_row: str = "all") -> list[Node]:
    """All nodes, encoder's included, that ``wanted`` depend on, in an order of computation."""
    found: set[Node] = set()
    waiting = list(wanted)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node_inputs(node, connections, fine_row))
    return sorted(found, key=lambda node: (node[1], node[0]))


class NestedGrid(nn.Module):
    """Nodes X(i,j), j > 0, over an encoder's maps X(.,0).

    Only the nodes that the wanted depths need exist as modules, and :meth:`forward` computes only
    those that the asked-for nodes need. Node X(i,j) is the submodule ``x_{i}_{j}``; its name does
    not depend on the depth of the grid, so the weights of a deep grid load into a shallow one.
    Where U is learned, that of node X(i,j) is ``up_{i}_{j}``; it gives the channels of row i.
    """

    def __init__(
        self,
        *,
        row_channels: Sequence[int],
        make_node: Callable[[int, int], nn.Module],
        depths: Sequence[int] | None = None,
        connections: str = "dense",
        upsample: str = "nearest",
        fine_row: str = "all",
        checkpointing: bool = False,
    ) -> None:
        """
        Args:
            row_channels: channels of every map in row 0, 1, ...; one entry a row.
            make_node: called as ``make_node(in_channels, out_channels)``; the module H of one
                node, which keeps height and width.
            depths: depths whose outer diagonals are wanted; default: all, 1 to the last row.
            connections: a key of :data:`CONNECTIONS`.
            upsample: one of :data:`UPSAMPLE_MODES`.
            fine_row: one of :data:`FINE_ROWS`. Row 0 costs most: "last" computes one node of it.
            checkpointing: in training, keep no more of a node than its map, and compute it again
                for the gradient. Not for nodes that count what they see, as batch normalization.

        Raises:
            ValueError: an unknown name, a depth that the rows do not allow, or several depths of
                "plain" connections.
        """
        super().__init__()
        if connections not in CONNECTIONS:
            raise ValueError(f"connections is {connections!r}, not one of {sorted(CONNECTIONS)}")
        if upsample not in UPSAMPLE_MODES:
            raise ValueError(f"upsample is {upsample!r}, not one of {list(UPSAMPLE_MODES)}")
        if fine_row not in FINE_ROWS:
            raise ValueError(f"fine_row is {fine_row!r}, not one of {list(FINE_ROWS)}")
        last_row = len(row_channels) - 1
        depths = range(1, last_row + 1) if depths is None else depths
        if not depths or not all(1 <= depth <= last_row for depth in depths):
            raise ValueError(f"depths {list(depths)} must lie in 1..{last_row}, one row each")
        if connections == "plain" and len(depths) > 1:
            raise ValueError(f"depths are {list(depths)}; a plain grid has one")
        self.connections = connections
        self.upsample = upsample
        self.fine_row = fine_row
        self.checkpointing = checkpointing
        self.nodes: list[Node] = []

        wanted = [node for depth in depths for node in outer_diagonal(depth)]
        for row, column in required_nodes(wanted, connections, fine_row):
            if column == 0:
                continue
            of_row, below = row_channels[row], row_channels[row + 1]
            left = len(node_inputs((row, column), connections, fine_row)) - 1
            if upsample == "transposed":
                up = nn.ConvTranspose2d(below, of_row, kernel_size=2, stride=2)
                self.add_module(f"up_{row}_{column}", up)
                below = of_row
            self.add_module(f"x_{row}_{column}", make_node(left * of_row + below, of_row))
            self.nodes.append((row, column))

    def forward(
        self, encoder_maps: Sequence[torch.Tensor], wanted: Iterable[Node]
    ) -> dict[Node, torch.Tensor]:
        """Compute the ``wanted`` nodes and those they need, each once.

        Args:
            encoder_maps: X(0,0), X(1,0), ...; shape (N, row_channels[i], H_i, W_i). Sizes of
                neighbouring rows need not be exact doubles: U goes to the size of the row. A
                transposed convolution can add one pixel, and leave none out.
            wanted: nodes to return.

        Returns:
            The maps of ``wanted``; X(i,j) has the shape of X(i,0).
        """
        wanted = list(wanted)
        maps: dict[Node, torch.Tensor] = {}
        for node in required_nodes(wanted, self.connections, self.fine_row):
            row, column = node
            if column == 0:
                maps[node] = encoder_maps[row]
                continue
            inputs = [maps[source] for source in node_inputs(node, self.connections, self.fine_row)]
            if self.checkpointing and self.training and torch.is_grad_enabled():
                maps[node] = checkpoint(self._compute, node, *inputs, use_reentrant=False)
            else:
                maps[node] = self._compute(node, *inputs)
        return {node: maps[node] for node in wanted}

    def _compute(self, node: Node, *inputs: torch.Tensor) -> torch.Tensor:
        return self.get_submodule("x_{}_{}".format(*node))(self._fused(node, *inputs))

    def _fused(self, node: Node, *inputs: torch.Tensor) -> torch.Tensor:
        """Input of a node's convolution. A method, so that the up-sampled map is freed by then."""
        *left, below = inputs
        return torch.cat([*left, self._up(node, below, left[0].shape[-2:])], dim=1)

    def _up(self, node: Node, x: torch.Tensor, size: torch.Size) -> torch.Tensor:
        if self.upsample == "transposed":
            return self.get_submodule("up_{}_{}".format(*node))(x, output_size=size)
        align_corners = None if self.upsample == "nearest" else False
        return F.interpolate(x, size=size, mode=self.upsample, align_corners=align_corners)

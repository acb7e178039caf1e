"""Objects from a low score on, to choose any threshold later without the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnnpp.inference.objects import Objects, SemanticObjects
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.overlaps import resolve_overlaps
from maskrcnnpp.inference.tiling import Detection, Tile, merge_tiles


@dataclass(frozen=True, eq=False)
class Candidates:
    """Detections of each tile, before tiles are merged: low ones have a say in that."""

    tiles: Sequence[Tile]
    found: Sequence[Sequence[Detection]]  #: of each tile
    height: int  #: of the image, pixels
    width: int
    options: Options
    scale: float  #: factor by which the image was resized for the model

    def at(self, score: float) -> Objects:
        """The objects that a prediction with this ``score_threshold`` has.

        Args:
            score: at least the one that the candidates were kept from.
        """
        lowest = np.float32(score)  # as the model's scores are compared
        found = [[entry for entry in tile if entry.score >= lowest] for tile in self.found]
        objects = merge_tiles(self.tiles, found, self.height, self.width)
        if self.options.overlaps == "resolve":
            objects = resolve_overlaps(objects)
        kept = [entry for entry in objects if self.options.fits(entry.area)]
        return Objects(kept, self.height, self.width, scale=self.scale)


@dataclass(frozen=True, eq=False)
class SemanticCandidates:
    """Objects made of a semantic prediction, of any score."""

    found: SemanticObjects
    options: Options

    def at(self, score: float) -> SemanticObjects:
        """See :meth:`Candidates.at`."""
        kept = [d for d in self.found if d.score >= score and self.options.fits(d.area)]
        return self.found.with_detections(kept)

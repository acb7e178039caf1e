"""Pictures of what is predicted, after each evaluation."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import HookBase

from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.data.named_by_file import folder_name
from maskrcnnpp.errors import UserError
from maskrcnnpp.evaluation.coco_evaluation import RESULTS_FILE
from maskrcnnpp.evaluation.semantic_evaluation import PREDICTIONS_FILE
from maskrcnnpp.evaluation.sheet import result_rows, semantic_rows, spread
from maskrcnnpp.files import write_bytes
from maskrcnnpp.images import encode_image
from maskrcnnpp.visualization import SheetRow, contact_sheet

logger = logging.getLogger(__name__)

FILE = "predictions.png"
_DRAW_SCORE = 0.5  # score of a prediction that is drawn


class Pictures(HookBase):
    """Draws truth and prediction of a few images: ``predictions.png``, and for TensorBoard.

    The images are the same each time. In the main process only, after the hook that evaluates.
    """

    def __init__(self, output_dir: str, dataset: str, count: int) -> None:
        """
        Args:
            output_dir: of the training.
            dataset: that is evaluated.
            count: of images.
        """
        self._output_dir = Path(output_dir)
        self._dataset = dataset
        self._count = count

    def after_step(self) -> None:
        if self.trainer.evaluation.evaluated == self.trainer.iter + 1:
            self._draw()

    def _draw(self) -> None:
        folder = self._output_dir / "inference" / folder_name(self._dataset)
        metadata = MetadataCatalog.get(self._dataset)
        try:
            if (folder / RESULTS_FILE).exists() and metadata.get("json_file"):
                rows = self._of_objects(folder / RESULTS_FILE)
            elif (folder / PREDICTIONS_FILE).exists():
                rows = self._of_classes(folder / PREDICTIONS_FILE)
            else:
                return  # of an evaluation of another kind
            sheet = contact_sheet(rows)
            write_bytes(self._output_dir / FILE, encode_image(sheet)[0])
        except (OSError, UserError) as error:
            logger.error("no picture of predictions: %s", error)
            return
        self.trainer.storage.put_image(
            f"{self._dataset}: truth, prediction", np.ascontiguousarray(sheet.transpose(2, 0, 1))
        )

    def _of_objects(self, results: Path) -> Iterator[SheetRow]:
        metadata = MetadataCatalog.get(self._dataset)
        truth = load_coco_truth(metadata.json_file)
        chosen = spread(truth["images"], self._count)
        found = json.loads(results.read_text(encoding="utf-8"))
        return result_rows(truth, chosen, Path(metadata.get("image_root", "")), found, _DRAW_SCORE)

    def _of_classes(self, predictions: Path) -> Iterator[SheetRow]:
        chosen = spread(DatasetCatalog.get(self._dataset), self._count)
        return semantic_rows(json.loads(predictions.read_text(encoding="utf-8")), chosen)

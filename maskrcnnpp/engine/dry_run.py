"""A training in miniature: would it go through, how long will it take, with what memory."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tabulate import tabulate

from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.engine.progress import peak_memory, short_time
from maskrcnnpp.engine.scratch import scratch_output
from maskrcnnpp.engine.trainer import Trainer
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.evaluation.sheet import spread
from maskrcnnpp.files import write_json
from maskrcnnpp.modeling.checkpoint import load_weights

_ITERATIONS = 5  # Detectron2's clock leaves out the first two
_IMAGES = 4  # that are evaluated


def dry_run(cfg: CfgNode) -> str:
    """Build all, load the weights, train and evaluate a little, save and load.

    What is written goes into a temporary folder beside OUTPUT_DIR.

    Returns:
        a table of what to expect of the training.

    Raises:
        ConfigError, DataError: what the training would end with; or the disk is too small.
    """
    with scratch_output(cfg) as tried:
        folder = Path(tried.OUTPUT_DIR)
        with _few_test_images(cfg.DATASETS.TEST, folder) as names:
            trainer, seconds, evaluation = _train(_small(tried, names))
        checkpoint = folder / "model_final.pth"
        trainer.resume_or_load(resume=True)  # what was saved can be loaded
        size = checkpoint.stat().st_size
    _check_disk(cfg, size)
    return _table(cfg, trainer.data_loader.image_count, seconds, evaluation, size)


def _small(cfg: CfgNode, names: Sequence[str]) -> CfgNode:
    small = cfg.clone()
    small.defrost()
    small.DATASETS.TEST = tuple(names)
    small.SOLVER.MAX_ITER = _ITERATIONS
    small.SOLVER.CHECKPOINT_PERIOD = 0
    small.TEST.EVAL_PERIOD = 0
    small.TEST.PATIENCE = 0
    small.TEST.EXPECTED_RESULTS = []
    small.freeze()
    return small


def _train(small: CfgNode) -> tuple[Trainer, float, float]:
    """The trainer, seconds of an iteration, and of the evaluation of an image."""
    trainer = Trainer(small)
    load_weights(trainer.resume_or_load, small, resume=False)
    evaluate, spent = trainer.evaluate, []

    def timed() -> dict[str, Any]:
        begin = time.perf_counter()
        found = evaluate()
        spent.append(time.perf_counter() - begin)
        return found

    trainer.evaluate = timed
    trainer.train()
    seconds = trainer.storage.history("time").median(_ITERATIONS)
    images = sum(len(DatasetCatalog.get(name)) for name in small.DATASETS.TEST)
    return trainer, seconds, spent[0] / images if images else 0.0


@contextmanager
def _few_test_images(names: Sequence[str], folder: Path) -> Iterator[list[str]]:
    """Data sets of a few of the images of others, known for a while."""
    few = []
    for number, name in enumerate(names):
        records = spread(DatasetCatalog.get(name), _IMAGES)
        known = MetadataCatalog.get(name).as_dict()
        small = f"dry_run_{number}"
        if known.get("json_file"):
            truth = load_coco_truth(known["json_file"])
            known["json_file"] = str(folder / f"{small}.json")
            write_json(known["json_file"], _only(truth, {r["image_id"] for r in records}))
        DatasetCatalog.register(small, partial(copy.deepcopy, records))
        MetadataCatalog.get(small).set(**{k: x for k, x in known.items() if k != "name"})
        few.append(small)
    try:
        yield few
    finally:
        for name in few:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def _only(truth: dict[str, Any], ids: set[Any]) -> dict[str, Any]:
    return {
        **truth,
        "images": [image for image in truth["images"] if image["id"] in ids],
        "annotations": [a for a in truth.get("annotations", ()) if a["image_id"] in ids],
    }


def _checkpoints(cfg: CfgNode) -> int:
    """Largest number of checkpoint files, the final one and the best among them."""
    period = cfg.SOLVER.CHECKPOINT_PERIOD
    scheduled = cfg.SOLVER.MAX_ITER // period if period > 0 else 0
    kept = cfg.SOLVER.CHECKPOINTS_KEPT
    # one more than is kept, until the oldest is removed
    return (min(scheduled, kept + 1) if kept else scheduled) + 1 + bool(cfg.TEST.BEST_METRIC)


def _check_disk(cfg: CfgNode, size: int) -> None:
    free = shutil.disk_usage(Path(cfg.OUTPUT_DIR).parent).free
    needed = size * _checkpoints(cfg)
    if needed > free:
        raise ConfigError(
            f"{_checkpoints(cfg)} checkpoints of {_mib(size)} need {_mib(needed)}, and the disk of "
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} has {_mib(free)} free: raise SOLVER.CHECKPOINT_PERIOD or "
            "set SOLVER.CHECKPOINTS_KEPT"
        )


def _table(cfg: CfgNode, images: int, seconds: float, evaluation: float, size: int) -> str:
    period = cfg.TEST.EVAL_PERIOD
    evaluations = max(1, math.ceil(cfg.SOLVER.MAX_ITER / period)) if period > 0 else 1
    tested = sum(len(DatasetCatalog.get(name)) for name in cfg.DATASETS.TEST)
    total = seconds * cfg.SOLVER.MAX_ITER + evaluations * evaluation * tested
    rows = [
        ("images to train on", f"{images}, {cfg.SOLVER.IMS_PER_BATCH} a batch"),
        ("an iteration", f"{seconds:.3g} s"),
        ("an evaluation", f"{short_time(evaluation * tested)} ({tested} images)"),
        ("evaluations", str(evaluations)),
        ("the whole training", f"about {short_time(total)}, by a few iterations and images"),
        ("peak memory so far", f"{peak_memory() / 2**30:.2f} GiB"),
        ("a checkpoint", f"{_mib(size)}, {_checkpoints(cfg)} at most"),
    ]
    return tabulate(rows, tablefmt="plain", disable_numparse=True)


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"

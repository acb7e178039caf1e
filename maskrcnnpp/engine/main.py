"""Training and evaluation, one call each. ``tools/train_net.py`` is the command of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from maskrcnnpp.engine.setup import setup
from maskrcnnpp.engine.trainer import Trainer

EPILOG = """
train:     python tools/train_net.py --config-file FILE [KEY VALUE ...]
go on:     python tools/train_net.py --config-file FILE --resume
evaluate:  python tools/train_net.py --config-file FILE --eval-only MODEL.WEIGHTS FILE
"""


def evaluate(cfg: CfgNode, *, resume: bool = False) -> dict:
    """Evaluate ``MODEL.WEIGHTS`` (or the last checkpoint) on ``DATASETS.TEST``.

    Returns:
        ``{"bbox": {...}, "segm": {...}}``, by data set where there are several.
    """
    model = Trainer.build_model(cfg)
    checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def train(cfg: CfgNode, *, resume: bool = False) -> dict | None:
    """Train, and evaluate at the end. Returns what :func:`evaluate` does, on the main process."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer.train()


def run(args: argparse.Namespace) -> dict | None:
    """What one process does for the arguments of the command."""
    cfg = setup(args)
    return (evaluate if args.eval_only else train)(cfg, resume=args.resume)


def main(argv: Sequence[str] | None = None) -> dict | None:
    """The command: Detectron2's arguments, one process for each GPU."""
    args = default_argument_parser(epilog=EPILOG).parse_args(argv)
    return launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )

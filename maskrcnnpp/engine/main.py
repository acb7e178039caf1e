"""Training and evaluation, one call each. ``tools/train_net.py`` is the command of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import torch
from detectron2.engine import default_argument_parser, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from maskrcnnpp.engine.setup import checked_config, setup
from maskrcnnpp.engine.trainer import Trainer
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.checkpoint import Checkpointer, load_weights

EPILOG = """
train:     python tools/train_net.py --config-file FILE [KEY VALUE ...]
go on:     python tools/train_net.py --config-file FILE --resume
evaluate:  python tools/train_net.py --config-file FILE --eval-only MODEL.WEIGHTS FILE
"""


def run(args: argparse.Namespace) -> dict | None:
    """Train and evaluate, or evaluate only, in this process.

    Args:
        args: of ``detectron2.engine.default_argument_parser``.

    Returns:
        On the main process ``{"bbox": {"AP": ...}, "segm": {...}}``, by the name of the data set
        where ``DATASETS.TEST`` has several.
    """
    cfg = setup(args)
    if not args.eval_only:
        trainer = Trainer(cfg)
        load_weights(trainer.resume_or_load, cfg, resume=args.resume)
        trainer.train()
        return trainer.results if comm.is_main_process() else None
    model = Trainer.build_model(cfg)
    checkpointer = Checkpointer(model, save_dir=cfg.OUTPUT_DIR)
    load_weights(partial(checkpointer.resume_or_load, cfg.MODEL.WEIGHTS), cfg, resume=args.resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """The command: Detectron2's arguments, one process for each GPU."""
    args = default_argument_parser(epilog=EPILOG).parse_args(argv)
    there = torch.cuda.device_count()
    # one process can do without a GPU; several cannot, as Detectron2 sets them up
    if args.num_gpus > max(there, 1):
        raise ConfigError(f"--num-gpus is {args.num_gpus}; this machine has {there}")
    checked_config(args)  # here, where an error is still one message and not one a process
    launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )

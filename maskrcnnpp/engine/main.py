"""Training and evaluation, one call each. ``tools/train_net.py`` is the command of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from maskrcnnpp.engine.advice import advice_on_memory
from maskrcnnpp.engine.dry_run import dry_run
from maskrcnnpp.engine.launcher import check_process_count, launch_processes
from maskrcnnpp.engine.lr_finder import find_lr
from maskrcnnpp.engine.profiler import profile
from maskrcnnpp.engine.setup import checked_config, setup
from maskrcnnpp.engine.trainer import Trainer
from maskrcnnpp.errors import TrainingStopped
from maskrcnnpp.modeling.checkpoint import load_to_use, load_weights

EPILOG = """
train:     python tools/train_net.py --config-file FILE [KEY VALUE ...]
go on:     python tools/train_net.py --config-file FILE --resume
try out:   python tools/train_net.py --config-file FILE --dry-run | --profile N | --find-lr
evaluate:  python tools/train_net.py --config-file FILE --eval-only MODEL.WEIGHTS FILE
"""


def run(args: argparse.Namespace) -> dict | None:
    """Train and evaluate, or evaluate only, in this process.

    Args:
        args: of ``detectron2.engine.default_argument_parser``.

    Returns:
        On the main process ``{"bbox": {"AP": ...}, "segm": {...}}``, by the name of the data set
        where ``DATASETS.TEST`` has several.

    Raises:
        TrainingStopped: by SIGTERM; what there was is saved.
    """
    cfg = _tried_out(args)
    if cfg is None:
        return None
    return _evaluate(cfg, args) if args.eval_only else _train(cfg, args)


def _tried_out(args: argparse.Namespace) -> CfgNode | None:
    """The config of a training or evaluation; None where only something was to be found out."""
    asked = vars(args)
    with advice_on_memory():
        if asked.get("dry_run"):
            print(dry_run(checked_config(args)))
        elif asked.get("profile"):
            print(profile(checked_config(args), args.profile))
        elif asked.get("find_lr"):
            print(find_lr(checked_config(args), args.find_lr))
        else:
            return setup(args)
    return None


def _train(cfg: CfgNode, args: argparse.Namespace) -> dict | None:
    with advice_on_memory():
        trainer = Trainer(cfg)
        load_weights(trainer.resume_or_load, cfg, resume=args.resume)
        trainer.train()
    if trainer.stop_reason:
        comm.synchronize()  # the first process to end would end the others, which may save
        raise TrainingStopped(
            f"stopped by {trainer.stop_reason} after iteration {trainer.iter}, which is saved in "
            f"{cfg.OUTPUT_DIR}; the same command with --resume goes on"
        )
    return trainer.results if comm.is_main_process() else None


def _evaluate(cfg: CfgNode, args: argparse.Namespace) -> dict | None:
    model = Trainer.build_model(cfg)
    load_to_use(model, cfg, save_dir=cfg.OUTPUT_DIR, resume=args.resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's, with what else a training can be asked for."""
    parser = default_argument_parser(epilog=EPILOG)
    others = parser.add_mutually_exclusive_group()
    others.add_argument(
        "--dry-run",
        action="store_true",
        help="a training in miniature: does it go through, how long will it take, with what memory",
    )
    others.add_argument(
        "--profile",
        type=_count,
        metavar="N",
        help="time of an iteration by its parts, of N iterations; nothing is saved",
    )
    others.add_argument(
        "--find-lr",
        type=_count,
        nargs="?",
        const=100,
        metavar="N",
        help="a first guess of SOLVER.BASE_LR by N iterations, default %(const)s, of rising rates",
    )
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """The command: Detectron2's arguments, one process for each GPU."""
    args = argument_parser().parse_args(argv)
    check_process_count(args.num_gpus)
    checked_config(args)  # here, where an error is still one message and not one a process
    launch_processes(
        run,
        (args,),
        num_processes=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )

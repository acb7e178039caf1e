"""Training and evaluation, one call each: the command ``maskrcnnpp train``."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from maskrcnnpp.engine.advice import advice_on_memory
from maskrcnnpp.engine.dry_run import dry_run
from maskrcnnpp.engine.hooks.stop_signal import CTRL_C
from maskrcnnpp.engine.launcher import check_process_count, launch_processes
from maskrcnnpp.engine.lr_finder import find_lr
from maskrcnnpp.engine.profiler import profile
from maskrcnnpp.engine.setup import checked_config, set_up_process
from maskrcnnpp.engine.trainer import Trainer
from maskrcnnpp.errors import CTRL_C_STATUS, TrainingStopped
from maskrcnnpp.files import output_errors, remove_partial
from maskrcnnpp.lock import locked
from maskrcnnpp.modeling.checkpoint import load_to_use, load_weights


def run(args: argparse.Namespace) -> dict | None:
    """Train and evaluate, or evaluate only, in this process.

    Args:
        args: of ``detectron2.engine.default_argument_parser``.

    Returns:
        On the main process ``{"bbox": {"AP": ...}, "segm": {...}}``, by the name of the data set
        where ``DATASETS.TEST`` has several.

    Raises:
        TrainingStopped: by SIGTERM or Ctrl-C; what there was is saved.
        UserError: another command is using OUTPUT_DIR.
    """
    cfg = checked_config(args)
    if _is_tried_out(cfg, args):
        return None
    is_main = comm.is_main_process()
    with locked(cfg.OUTPUT_DIR) if is_main else nullcontext(), output_errors(cfg.OUTPUT_DIR):
        if is_main:
            for folder in (cfg.OUTPUT_DIR, *Path(cfg.OUTPUT_DIR, "inference").glob("*/")):
                remove_partial(folder)
        set_up_process(cfg, args)
        return _evaluate(cfg, args) if args.eval_only else _train(cfg, args)


def _is_tried_out(cfg: CfgNode, args: argparse.Namespace) -> bool:
    """Whether only something was to be found out, which is printed."""
    asked = vars(args)
    with advice_on_memory():
        if asked.get("dry_run"):
            print(dry_run(cfg))
        elif asked.get("profile"):
            print(profile(cfg, args.profile))
        elif asked.get("find_lr"):
            print(find_lr(cfg, args.find_lr))
        else:
            return False
    return True


def _train(cfg: CfgNode, args: argparse.Namespace) -> dict | None:
    with advice_on_memory():
        trainer = Trainer(cfg)
        load_weights(trainer.resume_or_load, cfg, resume=args.resume)
        trainer.train()
    if trainer.stop_reason:
        comm.synchronize()  # the first process to end would end the others, which may save
        raise TrainingStopped(
            f"stopped by {trainer.stop_reason} after iteration {trainer.iter}, which is saved in "
            f"{cfg.OUTPUT_DIR}; the same command with --resume goes on",
            CTRL_C_STATUS if trainer.stop_reason == CTRL_C else TrainingStopped.exit_status,
        )
    return trainer.results if comm.is_main_process() else None


def _evaluate(cfg: CfgNode, args: argparse.Namespace) -> dict | None:
    model = Trainer.build_model(cfg)
    load_to_use(model, cfg, save_dir=cfg.OUTPUT_DIR, resume=args.resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def main(args: argparse.Namespace) -> None:
    """Train or evaluate with one process for each GPU.

    Args:
        args: as for :func:`run`.
    """
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

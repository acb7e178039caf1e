"""Arguments of a training and of an evaluation."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

EPILOG = """
train:     maskrcnnpp train --config-file FILE [KEY VALUE ...]
go on:     maskrcnnpp train --config-file FILE --resume
try out:   maskrcnnpp train --config-file FILE --dry-run | --profile N | --find-lr
evaluate:  maskrcnnpp train --config-file FILE --eval-only MODEL.WEIGHTS FILE
"""


def argument_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments of Detectron2's parser, with what else a training can be asked for."""
    parser = argparse.ArgumentParser(
        prog=prog, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="path of a config file")
    parser.add_argument(
        "--resume", action="store_true", help="begin with the last checkpoint of OUTPUT_DIR"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate and do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes of this machine")
    parser.add_argument("--num-machines", type=int, default=1, help="machines in all")
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine")
    # the same port for a user, so that processes that were left behind are noticed
    user = os.getuid() if sys.platform != "win32" else 1
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{2**15 + 2**14 + hash(user) % 2**14}",
        help="where the processes of all machines meet, as torch.distributed takes it",
    )
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
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="overrides of the config, after all other arguments",
    )
    return parser


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    return argument_parser(prog).parse_args(argv)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value

"""Train every arm with every seed, evaluate, and write results.json, report.md and report.html.

An arm is a config file; the first is the reference, the last the one the verdict is about. Score
thresholds are tuned on the first of DATASETS.TEST, the verdict is on the last. What has finished is
kept, so the same command resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--config-file", nargs="+", metavar="FILE", help="one for each arm")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="trainings at a time, sharing the cores"
    )
    parser.add_argument(
        "--external",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="COCO results of something else, scored as one more row; {dataset} in FILE stands for "
        "each of DATASETS.TEST, without it FILE is of the last one and all it has is shown",
    )
    parser.add_argument("--no-cost", action="store_true", help="measure no latency and memory")
    parser.add_argument(
        "--report-only", action="store_true", help="rebuild the report from results.json"
    )
    parser.add_argument(
        "--quote",
        nargs=2,
        metavar=("PAGE", "NAME"),
        help="put the table of AP, or of IoU, between <!-- NAME --> and <!-- /NAME --> of a page",
    )
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="overrides for every arm"
    )
    args = parser.parse_args(argv)
    if len(args.opts) % 2:
        parser.error(f"--opts: {args.opts[-1]} has no value; they are KEY VALUE pairs")
    if not args.report_only and not args.config_file:
        parser.error("--config-file is needed, unless it is --report-only")
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}; it must be at least 1")
    return args

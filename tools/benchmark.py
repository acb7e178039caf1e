#!/usr/bin/env python
"""Train every arm with every seed, evaluate, and write results.json and report.md.

An arm is a config file. What has finished is kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from maskrcnnpp.benchmark import report
from maskrcnnpp.benchmark.runner import plan_trials, run_trials
from maskrcnnpp.errors import UserError, exit_on_user_error
from maskrcnnpp.files import write_text


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", nargs="+", metavar="FILE", help="one for each arm")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="trainings at a time, sharing the cores"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="rebuild the report from results.json"
    )
    parser.add_argument(
        "--quote",
        nargs=2,
        metavar=("PAGE", "NAME"),
        help="put the AP table between <!-- NAME --> and <!-- /NAME --> of a Markdown page",
    )
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="overrides for every arm"
    )
    args = parser.parse_args()
    if not args.report_only and not args.config_file:
        parser.error("--config-file is needed, unless it is --report-only")
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}; it must be at least 1")
    return args


def read_page(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--quote: {path} cannot be read: {error.strerror}") from error


def main(args: argparse.Namespace) -> int:
    failed: list[str] = []
    page = read_page(args.quote[0]) if args.quote else ""  # before hours of training
    if args.report_only:
        results = report.load(args.output_dir / report.RESULTS_FILE)
    else:
        trials = plan_trials(args.config_file, args.seeds, args.output_dir, args.opts)
        failed = run_trials(trials, jobs=args.jobs)
        finished = [result for trial in trials if (result := trial.result())]
        if not finished:
            raise UserError(f"no training finished: {'; '.join(failed)}")
        command = shlex.join(["python", *sys.argv])
        results = report.collect(finished, command)
    report.write_reports(args.output_dir, results)
    if args.quote:
        path, name = args.quote
        dataset = next(iter(results["trials"][0]["metrics"]))
        table = report.ap_table(results, dataset, Path(path).parent)
        write_text(path, report.quote(page, name, table))
    print(f"report: {args.output_dir / report.REPORT_FILE}")
    return 1 if failed else 0


if __name__ == "__main__":
    with exit_on_user_error():
        sys.exit(main(parse_args()))

#!/usr/bin/env python
"""Train every arm with every seed, evaluate, and write results.json, report.md and report.html.

An arm is a config file; the first is the reference, the last the one the verdict is about. Score
thresholds are tuned on the first of DATASETS.TEST, the verdict is on the last. What has finished is
kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", nargs="+", metavar="FILE", help="one for each arm")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--output-dir", type=Path, metavar="DIR")
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
        "--self-test",
        action="store_true",
        help="check the scoring against pycocotools on made-up predictions, and time it",
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
    if args.self_test:
        return args
    if args.output_dir is None:
        parser.error("--output-dir is needed")
    if not args.report_only and not args.config_file:
        parser.error("--config-file is needed, unless it is --report-only")
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}; it must be at least 1")
    return args


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from maskrcnnpp.benchmark import report  # noqa: E402
from maskrcnnpp.benchmark.collect import External, collect  # noqa: E402
from maskrcnnpp.benchmark.cost import Arm, measure_arms  # noqa: E402
from maskrcnnpp.benchmark.results import RESULTS_FILE, datasets, load  # noqa: E402
from maskrcnnpp.benchmark.runner import arm_name, plan_trials, run_trials  # noqa: E402
from maskrcnnpp.benchmark.self_test import TOLERANCE, self_test  # noqa: E402
from maskrcnnpp.benchmark.semantic import REPORT_FILE as SEMANTIC_REPORT  # noqa: E402
from maskrcnnpp.benchmark.semantic import (  # noqa: E402
    all_semantic,
    collect_semantic,
    has_objects,
    load_semantic,
    semantic_table,
    write_semantic_report,
)
from maskrcnnpp.benchmark.tables import ap_table, verdict  # noqa: E402
from maskrcnnpp.errors import UserError, exit_on_user_error  # noqa: E402
from maskrcnnpp.files import remove_partial, write_text  # noqa: E402
from maskrcnnpp.lock import locked  # noqa: E402


def main(args: argparse.Namespace) -> int:
    if args.self_test:
        return print_self_test()
    if args.quote:
        page, name = args.quote
        report.quote(read_page(page), name, "")  # are the marks there? Before hours of training
    with locked(args.output_dir):
        remove_partial(args.output_dir)
        results = report_anew(args) if args.report_only else run(args)
    pixels = None if results else load_semantic(args.output_dir)
    if args.quote:
        folder = Path(page).parent
        if pixels:
            table = semantic_table(pixels, pixels["datasets"][-1], folder)
        else:
            table = ap_table(results, datasets(results)[-1], folder)
        write_text(page, report.quote(read_page(page), name, table))
    if results:
        print(verdict(results))
        print(f"report: {args.output_dir / report.HTML_FILE}")
    failed = (results or pixels)["failed"]
    for name, problem in failed.items():
        print(f"{name}: {problem}", file=sys.stderr)
    return 1 if failed else 0


def report_anew(args: argparse.Namespace) -> dict[str, Any] | None:
    """See :func:`run`."""
    if pixels := load_semantic(args.output_dir):
        write_semantic_report(args.output_dir, pixels)
        if not (args.output_dir / RESULTS_FILE).is_file():
            return None
    results = load(args.output_dir / RESULTS_FILE)
    report.write_reports(args.output_dir, results)
    return results


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Results of objects; None where there are only pixels, which have their own report."""
    externals = External.parse(args.external)
    trials, failed = plan_trials(args.config_file, args.seeds, args.output_dir, args.opts)
    arms = [arm_name(config_file) for config_file in args.config_file]
    for external in externals:
        external.check(arms, trials[0].cfg.DATASETS.TEST)
    for name, problem in failed.items():
        print(f"{name}: {problem}", file=sys.stderr)
    failed |= run_trials(trials, jobs=args.jobs)
    if all_semantic(trials):
        command = shlex.join(["python", *sys.argv])
        pixels = collect_semantic(trials, command=command, failed=failed)
        write_semantic_report(args.output_dir, pixels)
        print(semantic_table(pixels, pixels["datasets"][-1], args.output_dir))
        print(f"report: {args.output_dir / SEMANTIC_REPORT}")
        if not has_objects(trials):
            return None
    results = collect(
        trials,
        externals,
        arms=arms,
        command=shlex.join(["python", *sys.argv]),
        sheet=args.output_dir / report.SHEET_FILE,
        failed=failed,
    )
    report.write_reports(args.output_dir, results)
    if not args.no_cost:
        first_of_arm: dict[str, Arm] = {}
        for trial in trials:
            if trial.result():
                arm = Arm(trial.arm, str(trial.kept_config), str(trial.weights))
                first_of_arm.setdefault(trial.arm, arm)
        results["cost"] = measure_arms(list(first_of_arm.values()))
        report.write_reports(args.output_dir, results)
    return results


def read_page(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--quote: {path} cannot be read: {error.strerror}") from error


def print_self_test() -> int:
    found = self_test()
    size = ", ".join(f"{found[key]} {key}" for key in ("images", "truths", "detections"))
    print(f"{size}: all metrics in {found['seconds']:.1f} s")
    print(f"pycocotools, AP alone: {found['pycocotools_seconds']:.1f} s")
    for name, value in found["differences"].items():
        print(f"  {name}: differs from pycocotools by {value:.1e}")
    print("passed" if found["passed"] else f"FAILED: a difference is above {TOLERANCE:g}")
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    with exit_on_user_error():
        sys.exit(main(parse_args()))

"""The command ``maskrcnnpp benchmark``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from maskrcnnpp.benchmark import report
from maskrcnnpp.benchmark.collect import External, collect
from maskrcnnpp.benchmark.cost import Arm, measure_arms
from maskrcnnpp.benchmark.results import RESULTS_FILE, datasets, load
from maskrcnnpp.benchmark.runner import arm_name, plan_trials, run_trials
from maskrcnnpp.benchmark.self_test import TOLERANCE, self_test
from maskrcnnpp.benchmark.semantic import REPORT_FILE as SEMANTIC_REPORT
from maskrcnnpp.benchmark.semantic import (
    all_semantic,
    collect_semantic,
    has_objects,
    load_semantic,
    semantic_table,
    write_semantic_report,
)
from maskrcnnpp.benchmark.tables import ap_table, verdict
from maskrcnnpp.errors import UserError
from maskrcnnpp.files import remove_partial, write_text
from maskrcnnpp.lock import locked


def run(args: argparse.Namespace) -> int:
    if args.self_test:
        return print_self_test()
    if args.quote:
        page, name = args.quote
        report.quote(read_page(page), name, "")  # are the marks there? Before hours of training
    with locked(args.output_dir):
        remove_partial(args.output_dir)
        results = report_anew(args) if args.report_only else train_and_evaluate(args)
    pixels = None if results else load_semantic(args.output_dir)
    if args.quote:
        folder = Path(page).parent
        if pixels:
            table = semantic_table(pixels, pixels["datasets"][-1], folder)
        else:
            table = f"{ap_table(results, datasets(results)[-1], folder)}\n\n{verdict(results)}"
        write_text(page, report.quote(read_page(page), name, table))
    if results:
        print(verdict(results))
        print(f"report: {args.output_dir / report.HTML_FILE}")
    failed = (results or pixels)["failed"]
    for name, problem in failed.items():
        print(f"{name}: {problem}", file=sys.stderr)
    return 1 if failed else 0


def report_anew(args: argparse.Namespace) -> dict[str, Any] | None:
    """See :func:`train_and_evaluate`."""
    if pixels := load_semantic(args.output_dir):
        write_semantic_report(args.output_dir, pixels)
        if not (args.output_dir / RESULTS_FILE).is_file():
            return None
    results = load(args.output_dir / RESULTS_FILE)
    report.write_reports(args.output_dir, results)
    return results


def train_and_evaluate(args: argparse.Namespace) -> dict[str, Any] | None:
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
        pixels = collect_semantic(trials, command=args.command, failed=failed)
        write_semantic_report(args.output_dir, pixels)
        print(semantic_table(pixels, pixels["datasets"][-1], args.output_dir))
        print(f"report: {args.output_dir / SEMANTIC_REPORT}")
        if not has_objects(trials):
            return None
    results = collect(
        trials,
        externals,
        arms=arms,
        command=args.command,
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

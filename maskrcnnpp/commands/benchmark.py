"""The command ``maskrcnnpp benchmark``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from maskrcnnpp.benchmark import report
from maskrcnnpp.benchmark.collect import External, collect
from maskrcnnpp.benchmark.cost import Arm, measure_arms
from maskrcnnpp.benchmark.results import RESULTS_FILE, load
from maskrcnnpp.benchmark.runner import arm_name, plan_trials, run_trials
from maskrcnnpp.benchmark.tables import verdict
from maskrcnnpp.errors import UserError
from maskrcnnpp.files import remove_partial, write_text
from maskrcnnpp.lock import locked


def run(args: argparse.Namespace) -> int:
    if args.quote:
        page, name = args.quote
        report.quote(read_page(page), name, "")  # are the marks there? Before hours of training
    with locked(args.output_dir):
        remove_partial(args.output_dir)
        results = report_anew(args) if args.report_only else train_and_evaluate(args)
    if args.quote:
        table = report.quoted_table(results, Path(page).parent)
        write_text(page, report.quote(read_page(page), name, table))
    print(verdict(results))
    print(f"report: {args.output_dir / report.HTML_FILE}")
    for name, problem in results["failed"].items():
        print(f"{name}: {problem}", file=sys.stderr)
    return 1 if results["failed"] else 0


def report_anew(args: argparse.Namespace) -> dict[str, Any]:
    results = load(args.output_dir / RESULTS_FILE)
    report.write_reports(args.output_dir, results)
    return results


def train_and_evaluate(args: argparse.Namespace) -> dict[str, Any]:
    externals = External.parse(args.external)
    trials, failed = plan_trials(args.config_file, args.seeds, args.output_dir, args.opts)
    arms = [arm_name(config_file) for config_file in args.config_file]
    for external in externals:
        external.check(arms, trials[0].cfg.DATASETS.TEST)
    for name, problem in failed.items():
        print(f"{name}: {problem}", file=sys.stderr)
    failed |= run_trials(trials, jobs=args.jobs)
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

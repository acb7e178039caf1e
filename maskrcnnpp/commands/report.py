"""The command ``maskrcnnpp report``."""

from __future__ import annotations

import argparse

from maskrcnnpp.benchmark.run_report import REPORT_FILE, SHEET_FILE, build_report


def run(args: argparse.Namespace) -> None:
    summary = build_report(
        args.run_dir,
        args.dataset,
        args.output,
        score_threshold=args.score_threshold,
        images=args.images,
    )
    ap = summary.get("segm", {}).get("AP")
    print(f"segm AP {'n/a' if ap is None else format(ap, '.2f')}")
    print(f"report: {args.output / REPORT_FILE}")
    print(f"images: {args.output / SHEET_FILE}")

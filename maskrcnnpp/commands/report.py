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
    task, metric = ("segm", "AP") if "max_dets" in summary else ("sem_seg", "IoU")
    value = summary.get(task, {}).get(metric)
    line = f"{task} {metric} {'n/a' if value is None else format(value, '.2f')}"
    if shown := summary.get("shown"):
        line += (
            f"; with a score of {args.score_threshold:g} or more F1 {shown['f1']:.3f}, "
            f"PQ {shown['pq']:.3f}, count error {shown['count_error']:.1f} objects an image"
        )
    print(line)
    print(f"report: {args.output / REPORT_FILE}")
    print(f"images: {args.output / SHEET_FILE}")

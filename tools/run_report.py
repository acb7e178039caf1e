#!/usr/bin/env python
"""Report of a trained model: metrics, and a sheet of images with truth and prediction.

    python tools/run_report.py --run-dir OUTPUT_DIR --dataset NAME --output DIR

OUTPUT_DIR is that of a training which ended with an evaluation on NAME. Without --dataset that is
the data set of its DATASETS.TEST.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-dir", required=True, type=Path, help="the training's OUTPUT_DIR")
    parser.add_argument(
        "--dataset",
        help="the evaluated data, as DATASETS.TEST names it: a registered name, or "
        "FILE.json[:FOLDER]; needed where DATASETS.TEST names several",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder for the report")
    parser.add_argument(
        "--score-threshold", type=float, default=0.5, help="draw predictions from this score on"
    )
    parser.add_argument("--images", type=int, default=8, help="how many images the sheet shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from maskrcnnpp.benchmark.run_report import REPORT_FILE, SHEET_FILE, build_report  # noqa: E402
from maskrcnnpp.errors import exit_on_user_error  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with exit_on_user_error():
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


if __name__ == "__main__":
    main()

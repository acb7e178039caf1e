"""The command ``maskrcnnpp evaluate``."""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys

from tabulate import tabulate

from maskrcnnpp.errors import ConfigError, DataError, printable
from maskrcnnpp.evaluation.instance_metrics import summarize
from maskrcnnpp.evaluation.label_images import compare, counts_table
from maskrcnnpp.files import write_text

METRICS = {
    "f1": "F1 at IoU .5",
    "accuracy@0.50": "TP/(TP+FP+FN) at IoU .5",
    "accuracy": "TP/(TP+FP+FN), mean of IoU .5 to .95",
    "dsb_score": "DSB score: the mean of the line above over images",
    "pq": "PQ at IoU .5",
    "aji_plus": "AJI+",
    "dice": "Dice of all objects together",
    "count_error": "mean difference in the number of objects of an image",
}
HEADERS = ("image", "objects", "found", "matched", "f1", "dsb_score")
_WORST = 5


def run(args: argparse.Namespace) -> None:
    if args.output and args.output.suffix.lower() != ".csv":
        raise ConfigError(f"--output {args.output}: the table is a file that ends in .csv")
    compared = compare(args.predicted, args.truth)
    if (lacking := compared.only_truth) and not args.common:
        raise DataError(
            f"{args.predicted} has no label image of {len(lacking)} images of {args.truth}, such "
            f"as {lacking[0]}: predict them too, or compare what both have with --common"
        )
    for side, names in (("truth", compared.only_truth), ("prediction", compared.only_predicted)):
        if names:
            text = f"not compared: {len(names)} images that the {side} alone has, as {names[0]}"
            print(printable(text), file=sys.stderr)
    rows = counts_table(compared)
    counts = compared.counts
    found = summarize(counts)
    print(
        f"{len(rows)} images, {counts.truths.sum()} objects to find, {counts.predictions.sum()} "
        f"found, {counts.true_positives[:, 0].sum()} matched at an IoU of .5"
    )
    values = [[about, _shown(found[key])] for key, about in METRICS.items()]
    print(tabulate(values, disable_numparse=True))
    if len(rows) > 1:
        print("lowest DSB scores:")
        worst = sorted(rows, key=lambda row: row[-1])[:_WORST]
        print(printable(tabulate(worst, HEADERS, disable_numparse=True)))
    if args.output:
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([HEADERS, *rows])
        write_text(args.output, table.getvalue())
        print(f"table: {args.output}")


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"

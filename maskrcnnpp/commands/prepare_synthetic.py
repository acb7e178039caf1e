"""The command ``maskrcnnpp prepare synthetic``."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.summary import next_step, summary_table
from maskrcnnpp.convert.synthetic import synthetic_samples
from maskrcnnpp.data.catalog import SPLITS, datasets_root


def run(args: argparse.Namespace) -> None:
    output = args.output or datasets_root() / "synthetic_nuclei"
    height, width = args.size
    info = {
        "description": f"synthetic fluorescent nuclei of maskrcnnpp, seed {args.seed}",
        "license": "CC0",
    }
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    total = args.train + args.val + args.test
    with (
        CocoDatasetWriter(output, info=info) as writer,
        tqdm(total=total, desc="draw", unit="image") as bar,
    ):
        for split, names in splits.items():
            for sample in synthetic_samples(
                getattr(args, split),
                height=height,
                width=width,
                count=tuple(args.count),
                seed=args.seed,
                prefix=split,
            ):
                writer.add(sample)
                names.append(sample.name)
                bar.update()
        writer.commit(splits)

    print(summary_table(writer.records, splits))
    print(f"\nwritten to {output}\n{next_step(output, writer.records, splits)}")

"""The command ``maskrcnnpp prepare dsb2018``."""

from __future__ import annotations

import argparse
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from maskrcnnpp.commands.arguments.prepare_dsb2018 import URL
from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.convert.splits import draw_splits, read_splits, write_splits
from maskrcnnpp.convert.summary import next_step, summary_table
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.errors import DataError, UserError
from maskrcnnpp.files import atomic_path

SPLIT_DIR = Path(__file__).resolve().parent / "splits" / "dsb2018"
INFO = {
    "description": "2018 Data Science Bowl nuclei, stage1_train (BBBC038)",
    "url": "https://bbbc.broadinstitute.org/BBBC038",
    "license": "CC0",
}


def download(path: Path) -> None:
    """Fetch the archive to ``path``; a broken transfer leaves nothing there."""
    try:
        with urllib.request.urlopen(URL, timeout=30) as response:
            size = int(response.headers.get("Content-Length") or 0)
            with (
                atomic_path(path) as temporary,
                open(temporary, "wb") as file,
                tqdm(total=size or None, unit="B", unit_scale=True, desc="download") as bar,
            ):
                while chunk := response.read(1 << 18):
                    file.write(chunk)
                    bar.update(len(chunk))
                if size and bar.n != size:
                    raise OSError(f"got {bar.n} of {size} bytes")
    # HTTPException (a cut transfer) is no OSError
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        raise UserError(
            f"{URL} cannot be fetched ({error}). Is this machine online? Otherwise fetch it "
            "on another one and run this with --source stage1_train.zip"
        ) from error


def known_splits(
    reader: Dsb2018Reader, split_dir: Path, problems: ProblemLog
) -> dict[str, list[str]]:
    """The split lists without the ids that the source lacks, each of which is a problem."""
    splits = read_splits(split_dir)
    there = set(reader.names)
    lacking = [name for names in splits.values() for name in names if name not in there]
    if lacking and not problems.skip_bad:
        raise DataError(
            f"{reader.source}: lacks {len(lacking)} of the images that the lists in {split_dir} "
            f"name, such as {', '.join(lacking[:3])}. Add --skip-bad to go on without them, or "
            "draw lists of your own with --make-splits --split-dir DIR"
        )
    problems.add(
        *(Problem("image", name, name, "in a split list, not in the source") for name in lacking)
    )
    unnamed = len(there.difference(*splits.values()))
    if unnamed:
        print(f"{unnamed} image{'s are' if unnamed > 1 else ' is'} in no split list: not used")
    return {split: [name for name in names if name in there] for split, names in splits.items()}


def run(args: argparse.Namespace) -> None:
    source = args.source or datasets_root() / "stage1_train.zip"
    output = args.output or datasets_root() / "dsb2018"
    split_dir = args.split_dir or SPLIT_DIR
    if args.download and not source.exists():
        download(source)

    problems = ProblemLog(args.skip_bad)
    reader = Dsb2018Reader(source, problems)
    splits = None if args.make_splits else known_splits(reader, split_dir, problems)
    names = reader.names if splits is None else [n for names in splits.values() for n in names]

    with CocoDatasetWriter(output, info=INFO) as writer:
        for sample in tqdm(reader.read(names), total=len(names), desc="convert", unit="image"):
            writer.add(sample)
        problems.raise_unless_skipped(source)
        records = writer.records
        if splits is None:
            strata = {name: (r.height, r.width, r.stain) for name, r in records.items()}
            splits = draw_splits(strata, seed=args.seed or 0)
            write_splits(split_dir, splits)
        splits = {split: [n for n in names if n in records] for split, names in splits.items()}
        empty = [split for split, names in splits.items() if not names]
        if empty:
            raise DataError(
                f"{source}: no image is left for {', '.join(empty)}; mend the files, or draw lists "
                f"of your own with --make-splits --split-dir DIR\n{problems.summary()}"
            )
        writer.commit(splits, left_out=problems.lines(), notes=problems.lines_of_notes())

    print(summary_table(records, splits))
    if problems or problems.notes:
        print(f"{problems.summary()}\nthe whole lists: {output / 'annotations'}/*.txt")
    print(f"\nwritten to {output}\n{next_step(output, records, splits)}")

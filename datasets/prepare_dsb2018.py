#!/usr/bin/env python
"""Convert the 2018 Data Science Bowl nuclei (Kaggle stage1_train, BBBC038) to COCO JSON."""

from __future__ import annotations

import argparse
import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

URL = "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip"
SPLIT_DIR = Path(__file__).resolve().parent / "splits" / "dsb2018"
INFO = {
    "description": "2018 Data Science Bowl nuclei, stage1_train (BBBC038)",
    "url": "https://bbbc.broadinstitute.org/BBBC038",
    "license": "CC0",
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python datasets/prepare_dsb2018.py --source stage1_train.zip",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="PATH",
        help="zip archive of stage1_train, read in place, or the folder it was unpacked into; "
        "with --download, where the archive is stored "
        "(default: stage1_train.zip in the folder of the data sets)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help=f"fetch {URL} first, unless it is there already",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for images/ and annotations/; a former result there is replaced "
        "(default: $DETECTRON2_DATASETS/dsb2018, or datasets/dsb2018)",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out what cannot be read, and list it in annotations/left_out.txt, "
        "rather than stop",
    )
    parser.add_argument(
        "--split-dir",
        type=Path,
        metavar="DIR",
        help="folder of train.txt, val.txt and test.txt, one image id a line "
        "(default: splits/dsb2018 beside this script)",
    )
    parser.add_argument(
        "--make-splits",
        action="store_true",
        help="draw new lists, 50/20/30 %% within each image size and stain, into --split-dir",
    )
    parser.add_argument("--seed", type=int, help="of --make-splits (default: 0)")
    args = parser.parse_args(argv)
    if args.source is None and not args.download:
        parser.error("name the data with --source, or fetch it with --download")
    if args.make_splits and args.split_dir is None:
        parser.error("--make-splits needs --split-dir, the folder for the new lists")
    if args.seed is not None and not args.make_splits:
        parser.error("--seed is used with --make-splits only")
    return args


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from tqdm import tqdm  # noqa: E402

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter  # noqa: E402
from maskrcnnpp.convert.problems import Problem, ProblemLog  # noqa: E402
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader  # noqa: E402
from maskrcnnpp.convert.splits import draw_splits, read_splits, write_splits  # noqa: E402
from maskrcnnpp.convert.summary import next_step, summary_table  # noqa: E402
from maskrcnnpp.data.catalog import datasets_root  # noqa: E402
from maskrcnnpp.errors import DataError, UserError, exit_on_user_error  # noqa: E402
from maskrcnnpp.files import atomic_path  # noqa: E402


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


def convert(args: argparse.Namespace) -> None:
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
    print(f"\nwritten to {output}\n{next_step(output, 'dsb2018')}")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with exit_on_user_error():
        convert(args)


if __name__ == "__main__":
    main()

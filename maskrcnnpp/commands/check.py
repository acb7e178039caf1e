"""The command ``maskrcnnpp check``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from maskrcnnpp.check.validation.checks import KINDS, Finding, validate
from maskrcnnpp.check.validation.fix import Repair, repair
from maskrcnnpp.errors import DataError, printable
from maskrcnnpp.files import write_json
from maskrcnnpp.masks.rings import CHECKS_CROSSINGS

_LISTS = {"images": "image", "annotations": "annotation", "categories": "category"}
SHOWN = 20  # findings of a kind
_EXAMPLE = 70  # characters of the table's last column


def run(args: argparse.Namespace) -> int:
    """Check, repair and report; the exit status.

    Raises:
        DataError: a file cannot be read or written.
    """
    check_paths(args)
    truth = load(args.file)
    about: dict[str, Any] = {"max_dets": args.max_dets, "progress": True}
    about["label_root"] = args.file.parent
    findings = validate(truth, args.images, **about)
    say(f"{args.file}: {contents(truth)}")
    for note in notes(args):
        say(f"note: {note}")
    print_findings(findings)
    report: dict[str, Any] = {"file": str(args.file), **as_report(findings)}
    if args.fix:
        try:
            fixed, repairs = repair(truth, args.images, progress=True)
        except DataError as error:
            say(f"\n{args.file} {error}\n{args.fix} is not written")
        else:
            findings = validate(fixed, args.images, **about)
            write_json(args.fix, fixed)
            print_repairs(repairs)
            say(f"\n{args.fix}: {contents(fixed)}")
            print_findings(findings)
            report["repairs"] = [repair._asdict() for repair in repairs]
            report["repaired"] = {"file": str(args.fix), **as_report(findings)}
    if args.report:
        write_json(args.report, report, indent=1)
    return int(any(finding.severity == "error" for finding in findings))


def check_paths(args: argparse.Namespace) -> None:
    """Check that the paths can be used: no output overwrites an input or the other output."""
    for option, path in (("--fix", args.fix), ("--report", args.report)):
        if path and same_file(path, args.file):
            raise DataError(f"{path}: is the file that is checked; name another one for {option}")
        if path and path.is_dir():
            raise DataError(f"{path}: is a folder; name a file for {option}")
    if args.fix and args.report and same_file(args.fix, args.report):
        raise DataError(f"{args.report}: --fix and --report name the same file; name two")
    if args.images and not args.images.is_dir():
        raise DataError(f"{args.images}: is not a folder; name that of the images for --images")


def same_file(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return os.path.samefile(one, other)  # also of hard links
    return one.resolve() == other.resolve()


def load(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))  # as it is read for training
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except RecursionError as error:
        raise DataError(f"{path}: is no COCO file: lists in lists in lists, too deep") from error
    except ValueError as error:
        raise DataError(f"{path}: is not JSON, or cut short ({error}); fetch it again") from error


def contents(truth: Any) -> str:
    lines = []
    for key, one in _LISTS.items():
        found = truth.get(key) if isinstance(truth, dict) else None
        number = len(found) if isinstance(found, list) else "no"
        lines.append(f"{number} {one if number == 1 else key}")
    return ", ".join(lines)


def notes(args: argparse.Namespace) -> list[str]:
    lines = []
    if not args.images:
        lines.append("the image files are not looked at; name their folder with --images")
    if not CHECKS_CROSSINGS:
        lines.append("outlines that cross themselves are not looked for: pip install shapely")
    return lines


def print_findings(findings: Sequence[Finding]) -> None:
    """A table by kind, then the first of every kind."""
    if not findings:
        say("nothing is wrong")
        return
    of = {kind: [f for f in findings if f.kind == kind] for kind in KINDS}
    of = {kind: own for kind, own in of.items() if own}
    rows = [
        [kind, *(sum(f.severity == level for f in own) or "" for level in ("error", "warning"))]
        + [cut(f"{own[0].item}: {own[0].reason}")]
        for kind, own in of.items()
    ]
    sums = [sum(f.severity == level for f in findings) for level in ("error", "warning")]
    headers = ["kind", "errors", "warnings", "first"]
    say(tabulate([*rows, ["all", *sums, ""]], headers, tablefmt="github"))
    for kind, own in of.items():
        say(f"\n{kind}: {KINDS[kind]}")
        for finding in own[:SHOWN]:
            say(f"  {finding.severity}: {line(finding)}")
        say_more(own)


def print_repairs(repairs: Sequence[Repair]) -> None:
    for action in ("left out", "changed"):
        own = [repair for repair in repairs if repair.action == action]
        say(f"\n{action}: {len(own) or 'nothing'}")
        for one in own[:SHOWN]:
            say(f"  {line(one)}")
        say_more(own)


def line(one: Finding | Repair) -> str:
    text = f"{f'{one.image}: ' if one.image else ''}{one.item}: {one.reason}"
    return text.replace("\n", " ")


def say_more(own: Sequence) -> None:
    if len(own) > SHOWN:
        say(f"  ... and {len(own) - SHOWN} more; --report writes all")


def say(text: str) -> None:
    """Print what may hold any character, of which a terminal takes some as commands."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding))


def cut(text: str) -> str:
    text = text.replace("\n", " ").replace("|", "/")
    return text if len(text) <= _EXAMPLE else text[: _EXAMPLE - 3] + "..."


def as_report(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "errors": sum(finding.severity == "error" for finding in findings),
        "warnings": sum(finding.severity == "warning" for finding in findings),
        "findings": [finding._asdict() for finding in findings],
    }

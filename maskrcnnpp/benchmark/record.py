"""Common parts of the scripts of docs/benchmarks: measuring, the JSON file and the page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnnpp.benchmark.tables import made_with
from maskrcnnpp.environment import machine, versions
from maskrcnnpp.files import write_json, write_text


def record_files(script: str) -> tuple[Path, Path]:
    """The JSON file and the page beside a script, of its name."""
    path = Path(script)
    return path.with_suffix(".json"), path.with_suffix(".md")


def origin(*packages: str) -> dict[str, dict[str, str]]:
    """Machine and versions, for a record.

    Args:
        packages: whose versions matter too.
    """
    return {"machine": machine(), "versions": versions(*packages)}


def page_text(lines: Sequence[str], found: Mapping[str, Any]) -> str:
    """Lines of Markdown, and what a record with :func:`origin` came from."""
    return "\n".join([*lines, *(made_with(k, found[k]) for k in ("machine", "versions"))]) + "\n"


def measure_and_draw(
    script: str,
    about: str,
    measure: Callable[..., Mapping[str, Any]],
    page: Callable[[Mapping[str, Any]], str],
    **numbers: int,
) -> None:
    """The command of a script: measure, keep the record, and draw its page.

    Args:
        script: its file.
        about: its docstring.
        measure: gives the record. It is called with ``numbers``.
        page: the page of a record.
        numbers: options of the command and their defaults.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    for name, default in numbers.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=int, default=default, help="default %(default)s")
    parser.add_argument("--page-only", action="store_true", help="only draw the page again")
    args = vars(parser.parse_args())
    record_file, page_file = record_files(script)
    if not args.pop("page_only"):
        write_json(record_file, measure(**args), indent=1)
    write_text(page_file, page(json.loads(record_file.read_text(encoding="utf-8"))))

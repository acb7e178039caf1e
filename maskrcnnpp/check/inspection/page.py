"""The page of what is in a data set: Markdown with pictures beside it, and one HTML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from maskrcnnpp.check.inspection.pictures import DISTRIBUTIONS, histograms, samples_sheet
from maskrcnnpp.check.inspection.reading import CocoSet
from maskrcnnpp.check.inspection.settings import random_weights_note, settings_yaml
from maskrcnnpp.convert.problems import SHOWN_PROBLEMS
from maskrcnnpp.files import write_bytes, write_json, write_text
from maskrcnnpp.html_page import code_text, page_html, plain_text
from maskrcnnpp.package_files import FIRST_CHOICE

JSON_FILE = "inspection.json"
REPORT_FILE = "report.md"
HTML_FILE = "report.html"
SETTINGS_FILE = "settings.yaml"
SAMPLES_FILE = "samples.png"
HISTOGRAMS_FILE = "histograms.png"

_LONGEST = 12  # rows of a table


def write_inspection(output: str | os.PathLike, numbers: Mapping[str, Any], data: CocoSet) -> None:
    """Write all files of an inspection, each whole or not at all.

    Args:
        output: the folder.
        numbers: of :func:`maskrcnnpp.check.inspection.inspect_dataset`.
        data: the set, of which the samples are read again.
    """
    output = Path(output)
    pictures = {SAMPLES_FILE: samples_sheet(numbers, data), HISTOGRAMS_FILE: histograms(numbers)}
    for name, content in pictures.items():
        write_bytes(output / name, content)
    text = page_text(numbers)
    write_json(output / JSON_FILE, numbers, indent=1)
    write_text(output / SETTINGS_FILE, _settings_file(numbers, data))
    write_text(output / REPORT_FILE, text)
    write_text(output / HTML_FILE, page_html(text, pictures, _name(numbers)))


def page_text(numbers: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    images, objects, left = numbers["images"], numbers["objects"], numbers["left_out"]
    lines = [f"# What is in {plain_text(_name(numbers))}", ""]
    counted = f"{_count(images['number'], 'image')} with {_count(objects['number'], 'object')}"
    lines += [
        f"{counted}, from {code_text(numbers['annotations'])} and {code_text(numbers['folder'])}.",
        "",
    ]
    if left["images"] or left["objects"]:
        lines += [f"Left out: {_left_out(left)}; [the reasons](#left-out) are at the end.", ""]
    if numbers["notes"]:
        lines += [
            "## Before you train",
            "",
            *[f"- {plain_text(note)}" for note in numbers["notes"]],
            "",
        ]
    lines += ["## Samples", "", *_about_samples(numbers), ""]
    lines += ["## Images", "", *_image_tables(images), ""]
    lines += ["## Objects", "", *_object_tables(numbers), ""]
    lines += ["## Suggested settings", ""]
    lines += ["A start, worked out from the numbers above; not tried out on this data. The file"]
    lines += [f"`{SETTINGS_FILE}` has them too, with this data set: a training takes it as it is"]
    lines += [f"(`maskrcnnpp train --config-file {SETTINGS_FILE}`).", ""]
    lines += ["```yaml", settings_yaml(numbers["settings"]).rstrip(), "```", ""]
    lines += [random_weights_note(numbers), ""]
    if left["problems"]:
        lines += ["## Left out", "", *_problem_lines(left), ""]
    return "\n".join(lines)


def _settings_file(numbers: Mapping[str, Any], data: CocoSet) -> str:
    # nothing that would end the line, and with it the comment
    name = "".join(letter if letter.isprintable() else "?" for letter in _name(numbers))
    dataset = f"{data.annotations.resolve()}:{data.folder.resolve()}"
    about = {"DATASETS": {"TRAIN": [dataset], "TEST": []}, "OUTPUT_DIR": "output/inspected"}
    return (
        f"# Suggested by `maskrcnnpp inspect` for {name}. Name other images in DATASETS.TEST, to\n"
        "# evaluate on them while training and at the end.\n"
        f'_BASE_: "{FIRST_CHOICE}"\n'
        + yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
        + settings_yaml(numbers["settings"])
    )


def _about_samples(numbers: Mapping[str, Any]) -> list[str]:
    images = f"{len(numbers['samples'])} of {numbers['images']['number']} images"
    words = f"{images}, of every kind, with few to many objects"
    return [
        f"{words}. Left the image, its contrast stretched; right the outlines of its objects.",
        "Colours only tell neighbours apart. Look for objects that are missing, joined or shifted.",
        "",
        f"![{words}]({SAMPLES_FILE})",
    ]


def _image_tables(images: Mapping[str, Any]) -> list[str]:
    number, coloured = images["number"], images["with_colour"]
    sizes = [[s["height"], s["width"], s["images"]] for s in images["sizes"][:_LONGEST]]
    if more := images["sizes"][_LONGEST:]:
        sizes.append(["others", f"{len(more)} sizes", sum(s["images"] for s in more)])
    formats = [[f["dtype"], f["channels"], f["images"]] for f in images["formats"]]
    levels = ["min", "p1", "p25", "p50", "p75", "p99", "max"]
    intensity = [
        [row["dtype"], row["channels"], row["channel"], *[f"{row[key]:g}" for key in levels]]
        for row in images["intensity"][:_LONGEST]
    ]
    groups = [
        [
            plain_text(group["name"]),
            group["images"],
            f"{group['images'] / number:.0%}",
            group["objects"],
            _number(group["median_intensity"]),
            _number(group["median_diameter"]),
        ]
        for group in images["groups"]
    ]
    kinds = ["kind", "images", "of all", "objects", "median intensity", "median diameter, px"]
    return [
        f"{coloured} of {number} images have colour; {images['without_objects']} have no object.",
        "",
        _table(sizes, ["height, px", "width, px", "images"]),
        "",
        _table(formats, ["type", "channels", "images"]),
        "",
        "Images of 8 bits are grouped by colour and background (histology, brightfield,",
        "fluorescence), others by brightness and contrast:",
        "",
        _table(groups, kinds),
        "",
        "Intensity, in percentiles over pixels drawn from every image, as many of each"
        + (f" (the first {_LONGEST} channels):" if len(images["intensity"]) > _LONGEST else ":"),
        "",
        _table(intensity, ["type", "channels", "channel", *_percent(levels)]),
    ]


def _percent(levels: list[str]) -> list[str]:
    return [f"{level[1:]} %" if level[0] == "p" else level for level in levels]


def _object_tables(numbers: Mapping[str, Any]) -> list[str]:
    objects = numbers["objects"]
    about = objects["distributions"]
    levels = ["min", "p5", "p50", "p95", "max"]
    rows = [
        [words, *[_number(about[key][level]) for level in levels]]
        for key, words in DISTRIBUTIONS
        if key in about
    ]
    fractions = [
        ["touch another one: a pixel in it or next to it is the other's", objects["touching"]],
        ["overlap another one: a pixel is of both", objects["overlapping"]],
        ["are in several pieces: a mask of many objects?", objects["in_pieces"]],
        ["are cut by the border of the image", objects["cut_by_border"]],
    ]
    categories = [
        [plain_text(c["name"]), c["id"], c["objects"], c["images"]] for c in numbers["categories"]
    ]
    return [
        _table(rows, ["", *_percent(levels)]),
        "",
        f"Eccentricity and solidity are of {objects['shapes_measured']} objects drawn at random.",
        "",
        _table([[words, f"{part:.1%}"] for words, part in fractions], ["objects that", "of all"]),
        "",
        _table(categories, ["category", "id", "objects", "images"]),
        "",
        f"![Histograms; the line is the median]({HISTOGRAMS_FILE})",
    ]


def _problem_lines(left: Mapping[str, Any]) -> list[str]:
    problems = left["problems"]
    lines = [f"{_left_out(left).capitalize()} left out, and in none of the numbers:", ""]
    lines += [
        f"- {plain_text(item)}: {plain_text(reason)}"
        for _, item, reason in problems[:SHOWN_PROBLEMS]
    ]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"- ... and {len(problems) - SHOWN_PROBLEMS} more: see `{JSON_FILE}`")
    return lines


def _left_out(left: Mapping[str, Any]) -> str:
    counts = ((left[scope], scope[:-1]) for scope in ("images", "objects"))
    return " and ".join(_count(n, word) for n, word in counts if n)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}"


def _name(numbers: Mapping[str, Any]) -> str:
    return Path(numbers["annotations"]).name


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(rows: list[list[Any]], headers: list[str]) -> str:
    # disable_numparse: as they are, not aligned by their decimal points
    align = [
        "left" if isinstance(cell, str) and not cell[:1].isdigit() else "right" for cell in rows[0]
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=align)

"""The report of a benchmark: Markdown with pictures beside it, and one self-contained HTML file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnnpp.benchmark.figures import figures
from maskrcnnpp.benchmark.results import RESULTS_FILE, by_arm, datasets, save
from maskrcnnpp.benchmark.statistics import CONFIDENCE, SIGNIFICANCE
from maskrcnnpp.benchmark.tables import (
    ap_table,
    coco_table,
    cost_tables,
    lead_table,
    made_with,
    pixels_table,
    reference_table,
    shown_table,
    verdict,
)
from maskrcnnpp.errors import DataError
from maskrcnnpp.files import write_bytes, write_text
from maskrcnnpp.html_page import code_text, page_html, plain_text

REPORT_FILE = "report.md"
HTML_FILE = "report.html"
SHEET_FILE = "differences.png"

_NO_NAMES = ("command", "config_file", "external")  # in results.json: shown as code, or linked to

HOW_TO_READ = """\
- An arm is a config file; a row names the one it was trained with. The first arm is the reference,
  the last one is judged.
- "seed n" is a single training: with the same seed all arms see the same images, crops and flips in
  the same order. "mean" and "sd" (n - 1) are over seeds; sd in brackets where a cell has both.
- "difference" is the mean over seeds of an arm's value minus the reference's with the same seed
  (of what was not trained here: of the two means). The interval covers {confidence:.0%} of
  {replicates} bootstrap draws of images, the same for both, and of seeds, the same for both where
  both were trained here. Welch's p compares the seeds of the two and knows nothing of images. A
  difference "holds up" when the interval does not contain zero and p is below {significance:g};
  it never does with one seed.
- What was to be decided is the mask AP of the judged arm against the reference. The many other
  differences are not corrected for their number: one in twenty would hold up by chance.
- Three numbers go by the name of AP; here each has its own column. AP is COCO's, over the ranking
  of all detections and IoU 0.50:0.95, in percent, with up to {max_dets} detections an image (COCO:
  100). TP/(TP+FP+FN) is what StarDist and Cellpose call AP at one IoU. The DSB score is its mean
  over IoU 0.50:0.95 and then over images.
- Small objects have up to {small:g} pixels, medium ones up to {medium:g}.
- All but COCO's metrics are of the detections above a score threshold ("score from"), which each
  training tunes on {tuned_on} for the DSB score. F1, PQ, SQ and RQ are at IoU 0.5. The count error
  is the mean over images of the difference of the number of objects."""


HOW_TO_READ_PIXELS = f"""\
Of the arms that predict pixels, in percent: mean and (sd, n - 1) over seeds. With the same seed all
see the same images, crops and flips.

- IoU and Dice are of the pixels of all images together, mean over classes. The mean over
  thresholds, 0.50:0.95 of the probability, is of a class and of all that it is not, as the
  reference code of the UNet++ papers has it; it is above the IoU where background is easy.
- The gain in IoU is over the reference, the first arm, with the same seed. There is none where the
  reference predicts no pixels.
- p is Welch's, two-sided, of the IoU of the seeds against the reference's: the papers' test over
  trials, which knows nothing of pairs. Below {SIGNIFICANCE:g} a gain "holds up": it is more than a
  difference of seeds. Other images are another matter."""


def write_reports(output_dir: Path, results: Mapping[str, Any]) -> None:
    """Write results.json, report.md with its pictures, and report.html."""
    pictures = figures(results, datasets(results)[-1])
    for name, (_, data) in pictures.items():
        write_bytes(output_dir / name, data)
    text = report_text(results, output_dir, {name: words for name, (words, _) in pictures.items()})
    save(output_dir / RESULTS_FILE, results)
    write_text(output_dir / REPORT_FILE, text)
    shown = {name: data for name, (_, data) in pictures.items()}
    if (output_dir / SHEET_FILE).is_file():
        shown[SHEET_FILE] = (output_dir / SHEET_FILE).read_bytes()
    write_text(output_dir / HTML_FILE, page_html(text, shown, "Benchmark"))


def report_text(
    results: Mapping[str, Any], page_dir: Path, pictures: Mapping[str, str] = {}
) -> str:
    """The report as Markdown, for a page in the folder ``page_dir``.

    Args:
        pictures: what each picture in that folder shows, by file name.
    """
    results = _as_text(results)
    names = datasets(results)
    lines = ["# Benchmark", "", verdict(results), ""]
    if by_arm(results, names[-1]):
        lines += _objects_lines(results, page_dir)
    if by_arm(results, names[-1], "pixels"):
        lines += ["## Pixels", "", HOW_TO_READ_PIXELS, ""]
        for name in reversed(names):
            lines += [f"On {name}:", "", pixels_table(results, name, page_dir), ""]
    if results.get("cost"):
        lines += ["## What it costs", "", cost_tables(results), ""]
    lines += ["## Pictures", ""]
    for name, words in pictures.items():
        words = plain_text(words)
        lines += [f"{words}:", "", f"![{words}]({name})", ""]
    lines += _sheet_lines(results, page_dir)
    lines += ["## How it was run", "", provenance(results), ""]
    return "\n".join(lines)


def _objects_lines(results: Mapping[str, Any], page_dir: Path) -> list[str]:
    names = datasets(results)
    lines = ["## How to read the tables", "", _how_to_read(results), ""]
    for name in reversed(names):
        size = results["evaluation"]["datasets"][name]
        lines += [f"## {name}", "", f"{size['images']} images, {size['truths']} objects.", ""]
        lines += ["Mask AP:", "", ap_table(results, name, page_dir), ""]
        lines += ["COCO's metrics:", "", coco_table(results, name), ""]
        lines += ["Objects above the score threshold:", "", shown_table(results, name), ""]
    lines += ["## What holds up", "", f"Bold is a difference on {names[-1]} that holds up.", ""]
    lines += [f"Every arm minus {results['reference']}:", ""]
    lines += [reference_table(results, names[-1]), ""]
    if leads := lead_table(results, names[-1]):
        lines += [f"{results['judged']} minus the others:", "", leads, ""]
    return lines


def _as_text(results: Any, key: str = "") -> Any:
    """All names, which anybody may have chosen, as :func:`plain_text`."""
    if isinstance(results, Mapping):
        return {_as_text(k): _as_text(value, k) for k, value in results.items()}
    if isinstance(results, list):
        return [_as_text(value, key) for value in results]
    return plain_text(results) if isinstance(results, str) and key not in _NO_NAMES else results


def _sheet_lines(results: Mapping[str, Any], page_dir: Path) -> list[str]:
    words = (
        f"The images on which {results['judged']} and {results['reference']} differ most in "
        "DSB score"
    )
    if problem := results.get("widest_not_drawn"):
        return [f"{words}: not drawn: {problem}", ""]
    if results.get("widest") and (page_dir / SHEET_FILE).is_file():
        return [f"{words}:", "", f"![{words}]({SHEET_FILE})", ""]
    return []


def provenance(results: Mapping[str, Any]) -> str:
    """Machine, versions and command in a few Markdown lines."""
    trials = [trial for trial in results["trials"] if "fingerprint" in trial]
    lines = [f"- command: {code_text(results['command'])}"]
    for key in ("machine", "versions"):
        distinct = {json.dumps(trial[key], sort_keys=True) for trial in trials}
        for words in sorted(distinct):
            lines.append(made_with(key, json.loads(words)))
    for count, jobs in sorted({(t["threads"], t["trainings_at_a_time"]) for t in trials}):
        lines.append(f"- {jobs} training(s) at a time, {count} thread(s) each")
    iterations = sorted({trial["iterations"] for trial in trials})
    lines.append(f"- iterations of a training: {', '.join(map(str, iterations))}")
    for trial in results["trials"]:
        if "external" in trial:
            lines.append(f"- {trial['arm']}, run {trial['seed']}: {code_text(trial['external'])}")
    data = sorted({trial["fingerprint"]["data"] for trial in trials})
    code = sorted({trial["fingerprint"]["code"] for trial in trials})
    lines.append(f"- fingerprint of the data {', '.join(data)}, of the code {', '.join(code)}")
    return "\n".join(lines)


def quoted_table(results: Mapping[str, Any], page_dir: Path) -> str:
    """Table (mask AP, or IoU without objects) and verdict that a page in ``page_dir`` quotes."""
    dataset = datasets(results)[-1]
    table = ap_table if by_arm(results, dataset) else pixels_table
    return f"{table(results, dataset, page_dir)}\n\n{verdict(results)}"


def quote(page: str, name: str, text: str) -> str:
    """``page`` with the part between ``<!-- name -->`` and ``<!-- /name -->`` replaced by ``text``.

    Raises:
        DataError: the page has no such pair of marks.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise DataError(f"the page needs the marks {begin} and {end} once, to quote between them")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)


def _how_to_read(results: Mapping[str, Any]) -> str:
    small, medium = results["evaluation"]["area_bins"]
    return HOW_TO_READ.format(
        replicates=results["replicates"],
        confidence=CONFIDENCE,
        significance=SIGNIFICANCE,
        max_dets=results["evaluation"]["max_dets"],
        small=small,
        medium=medium,
        tuned_on=datasets(results)[0],
    )

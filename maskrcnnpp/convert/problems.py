"""Bad input, gathered over a whole run and reported together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from maskrcnnpp.errors import DataError, printable

SHOWN_PROBLEMS = 20


Scope = Literal["image", "object", "file", "region", "unwanted", "note", "doubt"]


class Problem(NamedTuple):
    """One thing that is wrong with the input."""

    scope: Scope
    """What is skipped with ``--skip-bad``: the whole image, one object, or a stray file. No errors,
    and always reported: a region (no object by the rules of its layout) and an unwanted object (by
    an option of the user) are skipped; what a note is about is kept. A doubt is for the reader to
    settle by what it knows of the whole source."""
    image: str
    """The id of the image that it belongs to; empty for a stray file."""
    item: str
    """The file or folder, as the source names it."""
    reason: str


class ProblemLog:
    """The problems of one run: an error at the end, or a list of what was left out.

    Args:
        skip_bad: leave bad items out rather than fail.
    """

    def __init__(self, skip_bad: bool = False) -> None:
        self.skip_bad = skip_bad
        self.problems: list[Problem] = []
        #: What is kept, but may be meant otherwise.
        self.notes: list[Problem] = []

    def __len__(self) -> int:
        return len(self.problems)

    def add(self, *problems: Problem) -> None:
        for problem in problems:
            (self.notes if problem.scope == "note" else self.problems).append(problem)

    def raise_unless_skipped(self, source: object) -> None:
        """Raise a DataError naming the first problems, unless bad items are to be skipped."""
        bad = [problem for problem in self.problems if problem.scope in _FAULTS]
        if not bad or self.skip_bad:
            return
        raise DataError(
            f"{source}: {len(bad)} problem{'s' if len(bad) > 1 else ''}\n{_shown(bad)}\n"
            "Do what the lines say, mend or fetch these files, or leave them out with --skip-bad."
        )

    def summary(self) -> str:
        """How many images and objects were left out, the first of them, and the first notes."""
        of = {scope: [p for p in self.problems if p.scope == scope] for scope in _PLURAL}
        # an image can have several bad masks
        images = len({p.image for p in of["image"]})
        counts = {scope: len(found) for scope, found in of.items()} | {"image": images}
        told = [f"{n} {_PLURAL[scope] if n != 1 else scope}" for scope, n in counts.items() if n]
        lines = [f"left out: {', '.join(told) or 'nothing'}", _shown(self.problems)]
        if self.notes:
            lines += [f"kept, but to be looked at: {len(self.notes)}", _shown(self.notes)]
        return "\n".join(filter(None, lines))

    def lines(self) -> str:
        """Every problem, one a line: scope, item, reason, separated by tabs."""
        return _lines(self.problems)

    def lines_of_notes(self) -> str:
        """Every note, in the same way."""
        return _lines(self.notes)


def _lines(problems: Sequence[Problem]) -> str:
    return "".join(f"{p.scope}\t{_line(_where(p))}\t{_line(p.reason)}\n" for p in problems)


def _shown(problems: Sequence[Problem]) -> str:
    shown = [f"  {_line(_where(p))}: {_line(p.reason)}" for p in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"  ... and {len(problems) - SHOWN_PROBLEMS} more")
    return "\n".join(shown)


def _line(text: str) -> str:
    """Text of the source in one line, and without commands of a terminal."""
    return printable(text).replace("\n", "\\n")


def _where(problem: Problem) -> str:
    """The item, and the image where it is an object whose item does not name it."""
    path = PurePosixPath(problem.item)
    if problem.scope in ("image", "file") or problem.image.rpartition("__")[2] in (
        "",
        *path.parts,
        path.stem,
    ):
        return problem.item
    return f"{problem.item} (image {problem.image})"


_FAULTS = ("image", "object", "file")
_PLURAL = {
    "image": "images",
    "object": "objects",
    "file": "files",
    "region": "regions",
    "unwanted": "unwanted",
}

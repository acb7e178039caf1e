"""Bad input, gathered over a whole run and told at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from maskrcnnpp.errors import DataError, printable

SHOWN_PROBLEMS = 20


class Problem(NamedTuple):
    """One thing that is wrong with the input."""

    scope: Literal["image", "object", "file", "region"]
    """What is left out with ``--skip-bad``: the whole image, one object, or a stray file. A region
    is no object by the rules of its layout: it is always left out, and told."""
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

    def __len__(self) -> int:
        return len(self.problems)

    def add(self, *problems: Problem) -> None:
        self.problems.extend(problems)

    def raise_unless_skipped(self, source: object) -> None:
        """Raise a DataError naming the first problems, unless bad items are to be skipped."""
        bad = [problem for problem in self.problems if problem.scope != "region"]
        if not bad or self.skip_bad:
            return
        raise DataError(
            f"{source}: {len(bad)} problem{'s' if len(bad) > 1 else ''}\n{_shown(bad)}\n"
            "Mend or fetch these files again, or add --skip-bad to leave them out."
        )

    def summary(self) -> str:
        """How many images and objects were left out, and the first of them with the reason."""
        of = {scope: [p for p in self.problems if p.scope == scope] for scope in _PLURAL}
        # an image can have several bad masks
        images = len({p.image for p in of["image"]})
        counts = {scope: len(found) for scope, found in of.items()} | {"image": images}
        told = [f"{n} {_PLURAL[scope] if n != 1 else scope}" for scope, n in counts.items() if n]
        return f"left out: {', '.join(told) or 'nothing'}\n{_shown(self.problems)}".rstrip()

    def lines(self) -> str:
        """Every problem, one a line: scope, item, reason, separated by tabs."""
        return "".join(f"{p.scope}\t{_line(p.item)}\t{_line(p.reason)}\n" for p in self.problems)


def _shown(problems: Sequence[Problem]) -> str:
    shown = [f"  {_line(p.item)}: {_line(p.reason)}" for p in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"  ... and {len(problems) - SHOWN_PROBLEMS} more")
    return "\n".join(shown)


def _line(text: str) -> str:
    """Text of the source in one line, and without commands of a terminal."""
    return printable(text).replace("\n", "\\n")


_PLURAL = {"image": "images", "object": "objects", "file": "files", "region": "regions"}

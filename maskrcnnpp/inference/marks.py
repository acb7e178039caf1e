"""Record that a run keeps of an output: what it was made of, and what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskrcnnpp.files import size_and_time
from maskrcnnpp.inference.record import digest


def state_of(file: Path) -> str:
    """State of an image file: its path, size and time, which tell it from other or older files."""
    size, time = size_and_time(file)
    return f"{file.resolve()}\n{size}\n{time}\n"


def mark(state: str, output: Path) -> list[Any]:
    """State of the image; size, time and digest of the output. A folder has no digest."""
    return [state, *size_and_time(output), _content(output)]


def is_empty(output: Path) -> bool:
    """Whether it has nothing, or is not there."""
    try:
        return size_and_time(output)[0] == 0
    except OSError:
        return True


def is_as_written(output: Path, made: Sequence[Any]) -> bool:
    """Whether it is what was written, as its :func:`mark` tells."""
    _, *written, content = made
    size, time = size_and_time(output)
    # a copy has another time, and the same content
    return [size, time] == written or (size == written[0] and _content(output) == content)


def _content(output: Path) -> str | None:
    return None if output.is_dir() else digest(output)

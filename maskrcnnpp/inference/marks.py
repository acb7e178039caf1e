"""What a run keeps of an output: what it was made of, and what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maskrcnnpp.files import size_and_time
from maskrcnnpp.inference.record import digest


def state_of(file: Path) -> str:
    """Of an image: tells it from others of its name, and from what it was before it was changed."""
    size, time = size_and_time(file)
    return f"{file.resolve()}\n{size}\n{time}\n"


def mark(state: str, output: Path) -> list[Any]:
    """State of the image; size, time and digest of the output. A folder has no digest."""
    return [state, *size_and_time(output), _content(output)]


def state_when_made(made: Any) -> str:
    """Of a :func:`mark`; of earlier versions it is the state alone, or without time and digest."""
    return made if isinstance(made, str) else made[0]


def is_empty(output: Path) -> bool:
    """Whether it has nothing, or is not there."""
    try:
        return size_and_time(output)[0] == 0
    except OSError:
        return True


def is_as_written(output: Path, made: Any) -> bool:
    """Whether it is what was written, as far as its :func:`mark` tells."""
    if isinstance(made, str):
        return True
    size, time = size_and_time(output)
    was_size, *rest = made[1:]
    # a copy has another time, and the same content
    return size == was_size and (not rest or time == rest[0] or _content(output) == rest[1])


def _content(output: Path) -> str | None:
    return None if output.is_dir() else digest(output)

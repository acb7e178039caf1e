"""Files of a source, found by what a table or JSON file calls them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from maskrcnnpp.convert.source import escapes
from maskrcnnpp.errors import DataError

_SHOWN = 3  # names in a message


def choose_file(
    source: str, names: Iterable[str], suffix: str, option: str, wanted: str | None
) -> str:
    """The one file of a source that has a suffix.

    Args:
        source: what it is called in errors.
        names: of its files, as :func:`list_files` gives them.
        suffix: lower case, with the dot.
        option: of the command, which names the file.
        wanted: what it names.

    Raises:
        DataError: there is none, or more than one and none is named.
    """
    kind = suffix[1:].upper()
    found = Counter(name for name in names if name.lower().endswith(suffix))
    if wanted is not None and wanted not in found:
        raise DataError(f"{source}: holds no {kind} file {wanted}; {option} takes a name inside it")
    if not found:
        raise DataError(f"{source}: holds no {kind} file; put it beside the folder of the images")
    if wanted is None and len(found) > 1:
        raise DataError(
            f"{source}: holds {len(found)} {kind} files; name one with {option}: {_listed(found)}"
        )
    chosen = next(iter(found)) if wanted is None else wanted
    if found[chosen] > 1:
        raise DataError(f"{source}: {chosen}: the archive holds it twice; pack it again")
    return chosen


def _listed(names: Iterable[str]) -> str:
    names = sorted(set(names))
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


class Lookup:
    """Finds files of some kinds by their path or name.

    Only files that the source lists are ever given: what a name says cannot lead out of it.
    """

    def __init__(
        self,
        names: Iterable[str],
        suffixes: Iterable[str],
        *,
        folder: str | None = None,
        source: str = "",
    ) -> None:
        """
        Args:
            names: of the source's files, as :func:`list_files` gives them.
            suffixes: of the files that are looked for, lower case, with the dot.
            folder: in which paths begin; None for anywhere.
            source: what it is called in errors.

        Raises:
            DataError: no file lies in the folder.
        """
        self._suffixes = tuple(suffixes)
        self._by_base: dict[str, list[str]] = defaultdict(list)
        self._folder = None if folder is None else _clean(folder)
        is_there = not self._folder
        for name in names:
            self._by_base[name.rsplit("/", 1)[-1]].append(name)
            is_there = is_there or name.startswith(self._in_folder(""))
        if not is_there:
            raise DataError(f"{source}: has no folder {folder} with files; check --images")

    def find(self, path: Any) -> str:
        """The file that is called so.

        Raises:
            DataError: there is none, or more than one, or it is no image. The message holds the
                reason only.
        """
        if not isinstance(path, str) or not path:
            raise DataError("has no file_name")
        is_out = escapes(path)
        path = _clean(path)
        base = path.rsplit("/", 1)[-1]
        if not base.lower().endswith(self._suffixes):
            raise DataError(f"is no image that can be read: {', '.join(self._suffixes)}")
        if is_out:  # of the machine it was written on: what counts is how it ends
            return self._by_tail(path, base)
        return self._only(self._candidates(path, base), path)

    def _by_tail(self, path: str, base: str) -> str:
        """The file of the source whose path ends most alike."""
        parts = [part for part in path.split("/") if part not in ("", "..")]
        tails = ["/".join(parts[k:]) for k in range(len(parts))]
        found = next(filter(None, (self._ending(tail, base) for tail in tails)), [])
        if not found:
            raise DataError(
                f"the path leads out of the source, which has no image {base}; put it there"
            )
        return self._only(found, base)

    def _ending(self, tail: str, base: str) -> list[str]:
        named = self._by_base.get(base, [])
        if self._folder is not None:
            return [name for name in named if name == self._in_folder(tail)]
        return [name for name in named if name == tail or name.endswith(f"/{tail}")]

    def _candidates(self, path: str, base: str) -> list[str]:
        named = self._by_base.get(base, [])
        if self._folder is not None:
            return [name for name in named if name == self._in_folder(path)]
        exact = [name for name in named if name == path]
        return exact or self._ending(path, base) or named

    def _in_folder(self, path: str) -> str:
        return f"{self._folder}/{path}" if self._folder else path

    def _only(self, found: list[str], path: str) -> str:
        if not found:
            place = f" in {self._folder}" if self._folder else ""
            raise DataError(
                f"the image is missing{place}: put it into the source, or check --images"
            )
        if len(set(found)) > 1:
            raise DataError(
                f"several files are called so, name their folder with --images: {_listed(found)}"
            )
        if len(found) > 1:
            raise DataError("the archive holds this file twice; pack it again")
        return found[0]


def _clean(path: str) -> str:
    """A path as sources write it: "/" between parts, no "./", nothing for the source itself."""
    cleaned = PurePosixPath(path.replace("\\", "/")).as_posix()
    return "" if cleaned == "." else cleaned

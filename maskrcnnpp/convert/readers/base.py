"""Common base of all readers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any

from maskrcnnpp.coco.categories import NUCLEUS_CATEGORIES
from maskrcnnpp.convert.pairing import named_pairs
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.convert.source import FileSource, is_hidden
from maskrcnnpp.errors import DataError
from maskrcnnpp.files import escapes
from maskrcnnpp.masks.pieces import count_pieces

#: A sample, or None where it is left out, and what is wrong with it.
Result = tuple[Sample | None, list[Problem]]
#: From the opened source and a reader's entry of an image. It goes to other processes: a function
#: of a module, or a ``functools.partial`` of one.
Decoder = Callable[[FileSource, Any], Result]


class Reader(ABC):
    """The images and objects of a source in one layout.

    A reader finds the images in its constructor, from names of files and small tables, and decodes
    them in :meth:`read`. Whatever is wrong with single files goes into ``problems``; the caller
    decides what follows, with :meth:`ProblemLog.raise_unless_skipped` after reading.
    """

    #: The ``categories`` list of the COCO files.
    categories: Sequence[Mapping[str, Any]] = NUCLEUS_CATEGORIES

    def __init__(self, source: str | os.PathLike, problems: ProblemLog) -> None:
        """
        Args:
            source: zip archive (read in place) or folder.
            problems: takes up what is wrong.

        Raises:
            DataError: the source does not exist, or holds nothing of this layout.
        """
        self.source = os.fspath(source)
        self.problems = problems
        #: By the name of an image, what :meth:`entry` gives.
        self._entries: dict[str, Any | Problem] = {}

    def _require_entries(self, reason: str) -> None:
        """Check that there is an image to read.

        Raises:
            DataError: there is none: what is wrong with files, or else the reason.
        """
        if not self._entries:
            self.problems.raise_unless_skipped(self.source)
            raise DataError(f"{self.source}: {reason}")

    def _take_pairs(self, found: Iterable[tuple[str, str]], problems: Iterable[Problem]) -> None:
        """Take up pairs of an image and its annotation, and what is wrong with others."""
        self._entries, unnamed = named_pairs(found)
        self.problems.add(*problems, *unnamed)

    @classmethod
    @abstractmethod
    def fits(cls, names: list[str]) -> bool:
        """Whether a source looks like this layout.

        Args:
            names: of its files, relative, with "/"; of a single file its name alone.
        """

    @property
    def names(self) -> list[str]:
        """Every image of the source, sorted; bad ones too."""
        return sorted(self._entries)

    def entry(self, name: str) -> Any | Problem:
        """Input of the decoder for an image, or why it cannot be read. Can be pickled."""
        return self._entries[name]

    def _settled(self, sample: Sample | None, problems: list[Problem]) -> Result:
        """A result of the decoder, by what is known of the whole source: doubts become notes."""
        return sample, [p._replace(scope="note") if p.scope == "doubt" else p for p in problems]

    @property
    @abstractmethod
    def decoder(self) -> Decoder:
        """Makes a sample of an entry."""

    def read(
        self, names: Iterable[str] | None = None, *, workers: int | None = None
    ) -> Iterator[Sample]:
        """Yield the samples of ``names`` (default: all) in sorted order, without the bad ones.

        Args:
            names: some of :attr:`names`.
            workers: processes that decode; default one a CPU core, 0 for none beside this one.
        """
        entries = []
        for name in sorted(self.names if names is None else names):
            entry = self.entry(name)
            if isinstance(entry, Problem):
                self.problems.add(entry)
            else:
                entries.append(entry)
        workers = max(2, os.cpu_count() or 2) if workers is None else workers
        results = decode_all(self.source, self.decoder, entries, min(workers, len(entries)))
        for result in results:
            sample, problems = self._settled(*result)
            self.problems.add(*problems)
            if sample is not None:
                yield sample


def _decoded(files: FileSource, decoder: Decoder, entry: Any) -> Result:
    """Result of the decoder for an entry, with a note where objects are in several pieces."""
    sample, problems = decoder(files, entry)
    if sample is None:
        return sample, problems
    pieces = {k: count_pieces(mask) for k, mask in enumerate(sample.masks, start=1)}
    if several := {k: count for k, count in pieces.items() if count > 1}:
        worst = max(several, key=several.__getitem__)
        reason = (
            f"{len(several)} of {len(pieces)} objects in several pieces, object {worst} in "
            f"{several[worst]}: is each of them a single object?"
        )
        item = f"{sample.name}{sample.suffix}"
        problems = [*problems, Problem("note", sample.name, item, reason)]
    return sample, problems


def list_files(files: FileSource, problems: ProblemLog) -> list[str]:
    """Names of the files of a source, sorted, without hidden ones.

    One that an archive holds twice is there twice. A name that leads out of the source is a
    problem and left out.
    """
    names = sorted(files.files())
    out = [name for name in names if escapes(name)]
    reason = "the path leads out of the source; do not trust this archive"
    problems.add(*(Problem("file", "", name, reason) for name in out))
    return [name for name in names if not escapes(name) and not is_hidden(name)]


def decode_all(
    source: str, decoder: Decoder, entries: Sequence[Any], workers: int
) -> Iterator[Result]:
    """Decode every entry in order, a bounded number ahead of the consumer."""
    if workers < 2:
        with FileSource(source) as files:
            yield from (_decoded(files, decoder, entry) for entry in entries)
        return
    # Forked workers start at once; spawned ones would import PyTorch first. They run only
    # Pillow and NumPy, which are safe there. macOS and Windows cannot fork safely.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(source, decoder)
    )
    try:
        entry = entries[0]
        pending: deque[tuple[Any, Future[Result]]] = deque()
        for following in entries:
            pending.append((following, pool.submit(_decode_in_worker, following)))
            if len(pending) >= 4 * workers:
                entry, future = pending.popleft()
                yield future.result()
        while pending:
            entry, future = pending.popleft()
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"{source}: a process that reads images was ended from outside, perhaps since the "
            f"memory is full, at the image {getattr(entry, 'name', entry)} or one close to it"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Wait for the end of the parent, which need not have said so: it may have been killed."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


_worker: tuple[FileSource, Decoder] | None = None


def _start_worker(source: str, decoder: Decoder) -> None:
    global _worker
    # Ctrl-C reaches the whole process group; the parent alone reacts, and stops the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = FileSource(source), decoder  # the archive's index is read once a process


def _decode_in_worker(entry: Any) -> Result:
    assert _worker is not None
    files, decoder = _worker
    return _decoded(files, decoder, entry)

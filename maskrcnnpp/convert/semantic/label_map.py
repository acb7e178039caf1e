"""Meaning of the raw values of label images: which class, background, or to be ignored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnnpp.data.semantic import IGNORED
from maskrcnnpp.errors import ConfigError, DataError

#: What a threshold makes of grey masks.
DARK, LIGHT = 0, 255
_UNLISTED = -1
_SHOWN = 5


@dataclass(frozen=True)
class LabelMap:
    """Raw values to labels: 0 is background, k the k-th class, 255 what does not count.

    Attributes:
        classes: raw values of each class, by its name; the first is class 1.
        background: raw values; None is 0 unless a class has it or it is ignored.
        ignored: raw values of pixels that do not count.
        threshold: raw values from here on become 255 and those below 0, before they are looked up;
            for masks saved as JPEG. With one class only.
    """

    classes: Mapping[str, Sequence[int]]
    background: Sequence[int] | None = None
    ignored: Sequence[int] = ()
    threshold: int | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: a raw value has two meanings, or a class none, or the threshold is none.
        """
        if not self.classes or len(self.classes) >= IGNORED:
            raise ConfigError(f"--classes: 1 to {IGNORED - 1} classes, not {len(self.classes)}")
        for name, values in self.classes.items():
            if not name.strip() or not values:
                raise ConfigError(f"--classes: class {name!r} needs a name and raw values")
        if self.background is None:
            used = {*self.ignored, *(v for values in self.classes.values() for v in values)}
            object.__setattr__(self, "background", () if 0 in used else (0,))
        meanings: dict[int, str] = {}
        for what, values in self._meanings():
            for value in values:
                if value in meanings:
                    raise ConfigError(
                        f"the raw value {value} is listed twice: for {meanings[value]} and for "
                        f"{what}; each has one meaning"
                    )
                meanings[value] = what
        self._check_threshold(meanings)

    def _check_threshold(self, meanings: Iterable[int]) -> None:
        if self.threshold is None:
            return
        if not 0 < self.threshold <= LIGHT:
            raise ConfigError(f"--threshold {self.threshold}: give one of 1 to {LIGHT}")
        if len(self.classes) > 1 or set(meanings) != {DARK, LIGHT} or self.ignored:
            raise ConfigError(
                f"--threshold makes masks of {DARK} and {LIGHT}: one of them is the only class, "
                "the other the background, such as --classes polyp=255"
            )

    def _meanings(self) -> list[tuple[str, Sequence[int]]]:
        classes = [(f"class {name}", values) for name, values in self.classes.items()]
        return [*classes, ("the background", self.background), ("what is ignored", self.ignored)]

    @classmethod
    def from_words(cls, words: Iterable[str], **options) -> LabelMap:
        """Label map of words such as ``liver=1,2``; see the class for the options and errors."""
        classes: dict[str, list[int]] = {}
        for word in words:
            name, _, values = word.rpartition("=")
            try:
                numbers = [int(value) for value in values.split(",")]
            except ValueError as error:
                raise ConfigError(f"--classes {word}: give NAME=VALUE, or NAME=V,V,...") from error
            if name in classes:
                raise ConfigError(f"--classes: {name!r} is listed twice; give NAME=V,V,...")
            classes[name] = numbers
        return cls(classes, **options)

    def labels(self, raw: np.ndarray, file: str) -> np.ndarray:
        """The labels of raw values.

        Args:
            raw: integers or bool, any shape.
            file: for messages.

        Returns:
            uint8 of the same shape.

        Raises:
            DataError: it has a value that is not listed.
        """
        if self.threshold is not None:
            raw = np.where(raw >= self.threshold, np.uint8(LIGHT), np.uint8(DARK))
        table = self._table()
        if raw.dtype == np.uint8:  # without sorting, and most are
            known = np.array([table.get(value, _UNLISTED) for value in range(256)], np.int16)
            labels = known[raw]
        else:
            values, places = np.unique(raw, return_inverse=True)
            known = np.array([table.get(int(value), _UNLISTED) for value in values], np.int16)
            labels = known[places].reshape(raw.shape)
        if (labels == _UNLISTED).any():
            raise self._unlisted(raw[labels == _UNLISTED], file)
        return labels.astype(np.uint8)

    def _table(self) -> dict[int, int]:
        table = dict.fromkeys(self.background, 0) | dict.fromkeys(self.ignored, IGNORED)
        for label, values in enumerate(self.classes.values(), start=1):
            table |= dict.fromkeys(values, label)
        return table

    def _unlisted(self, raw: np.ndarray, file: str) -> DataError:
        values, counts = np.unique(raw, return_counts=True)
        shown = ", ".join(
            f"{int(value)} ({count} pixel{'s' * (count != 1)})"
            for value, count in list(zip(values, counts.tolist()))[:_SHOWN]
        ) + ", ..." * (len(values) > _SHOWN)
        grey = (
            "; of a mask with grey noise, as JPEG makes it, --threshold 128 makes black and white"
            if len(self.classes) == 1
            else ""
        )
        return DataError(
            f"{file} has raw values that are not listed: {shown}; list them with --classes "
            f"NAME=VALUE, --background or --ignore{grey}"
        )

    def as_dict(self) -> dict:
        """The label map as a dict that JSON can hold."""
        return dataclasses.asdict(self)

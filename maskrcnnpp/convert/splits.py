"""Lists of the images for training, validation and test: drawing, writing and reading them.

A list is a text file with one image name a line: ``train.txt``, ``val.txt``, ``test.txt``.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.files import write_text

SPLIT_FRACTIONS: dict[str, float] = {"train": 0.5, "val": 0.2, "test": 0.3}

# Mean over the image of (largest - smallest channel), 0..255. Grey pictures saved as RGB have
# 0 and a camera's tint stays below this; the palest H&E image of DSB2018 has 11.
_COLOUR_SPREAD = 5.0


def classify_stain(image: np.ndarray) -> str:
    """Tell what kind of microscope image this is, from its pixels alone.

    The rule: "histology" when the image has colour (the mean difference between a pixel's
    largest and smallest channel is above 5 of 255); else "brightfield" when the median pixel,
    which is background, is light (128 or more); else "fluorescence".

    Args:
        image: uint8, (height, width) grey or (height, width, channels) with 1 or 2 (grey, alpha)
            or 3 or 4 (RGB, alpha) channels. Alpha is not looked at.
    """
    if image.ndim == 3:
        channels = [image[..., c] for c in range(3 if image.shape[2] >= 3 else 1)]
        # channel by channel: far faster than a reduction over a short last axis
        brightest = functools.reduce(np.maximum, channels)
        if np.mean(brightest - functools.reduce(np.minimum, channels)) > _COLOUR_SPREAD:
            return "histology"
        image = brightest
    return "brightfield" if np.median(image) >= 128 else "fluorescence"


def fractions_of(words: Sequence[str]) -> dict[str, float]:
    """The splits of ``--fractions`` and their parts of the whole, of words as "train=0.7".

    Raises:
        ConfigError: a word is no such pair, a name no name, or the parts are not 1 together.
    """
    shown = f"--fractions {' '.join(words)}"
    try:
        fractions = {split: float(part) for split, part in (w.split("=") for w in words)}
    except ValueError as error:
        raise ConfigError(f"{shown}: give such as train=0.7 val=0.3") from error
    if len(fractions) < len(words) or any(re.search(r"[^\w-]", split) for split in fractions):
        raise ConfigError(f"{shown}: names of splits are of letters, digits, - and _, each once")
    if not abs(sum(fractions.values()) - 1) < 1e-6 or min(fractions.values()) <= 0:
        raise ConfigError(f"{shown}: each is above 0, and together they are 1")
    return fractions


def draw_splits(
    strata: Mapping[str, Hashable],
    *,
    fractions: Mapping[str, float] = SPLIT_FRACTIONS,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Share names out among splits so that each stratum is shared out in the same fractions.

    Names are put in line stratum by stratum, in an order that depends on the seed within each,
    and each goes to the split that is furthest behind its fraction so far. A stratum too small
    to be divided so leaves its rounding error to the next one rather than adding it up, and the
    splits' sizes are the fractions of the whole, rounded by largest remainder.

    The result depends on the names, strata and seed only: not on their order, the machine or
    the Python version.

    Args:
        strata: the stratum of each name, anything that can be compared by ``repr``.
        fractions: of each split; they add up to 1.
        seed: any integer.

    Returns:
        the sorted names of each split.

    Raises:
        DataError: there are too few names for every split to get one.
    """
    sizes = _largest_remainder(len(strata), fractions)
    if min(sizes.values()) == 0:
        raise DataError(
            f"{len(strata)} images are too few to be split into {', '.join(fractions)}; "
            "use a source with more images"
        )

    def place(name: str) -> tuple[str, bytes]:
        # a hash rather than a random generator: the same on every version of Python
        return repr(strata[name]), hashlib.sha256(f"{seed}/{name}".encode()).digest()

    splits: dict[str, list[str]] = {split: [] for split in fractions}
    for position, name in enumerate(sorted(strata, key=place), start=1):
        open_splits = [split for split in splits if len(splits[split]) < sizes[split]]
        behind = max(open_splits, key=lambda s: fractions[s] * position - len(splits[s]))
        splits[behind].append(name)
    return {split: sorted(names) for split, names in splits.items()}


def draw_splits_of_groups(
    strata: Mapping[str, Hashable],
    groups: Mapping[str, str],
    *,
    fractions: Mapping[str, float] = SPLIT_FRACTIONS,
    seed: int = 0,
) -> dict[str, list[str]]:
    """:func:`draw_splits` where names of one group, such as a patient or plate, stay together.

    Groups are put in line by the stratum that most of their names have, in an order that depends on
    the seed within each, the large ones first; each goes to the split that is furthest behind its
    fraction of the names. Fractions are met as well as the groups' sizes allow.

    Args:
        strata, fractions, seed: see :func:`draw_splits`.
        groups: the group of each name.

    Returns:
        the sorted names of each split.

    Raises:
        DataError: there are too few groups for every split to get one.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(strata):
        members[groups[name]].append(name)
    if len(members) < len(fractions):
        raise DataError(
            f"{len(members)} groups are too few to be split into {', '.join(fractions)}; groups "
            "are never divided"
        )

    def place(group: str) -> tuple[str, int, bytes]:
        kinds = Counter(repr(strata[name]) for name in members[group])
        most = min(kinds, key=lambda kind: (-kinds[kind], kind))
        return most, -len(members[group]), hashlib.sha256(f"{seed}/{group}".encode()).digest()

    splits: dict[str, list[str]] = {split: [] for split in fractions}
    line = sorted(members, key=place)
    done = 0
    for position, group in enumerate(line):
        done += len(members[group])
        empty = [split for split, names in splits.items() if not names]
        # the last groups go where there is none yet
        choice = empty if len(empty) >= len(line) - position else list(splits)
        behind = max(choice, key=lambda s: fractions[s] * done - len(splits[s]))
        splits[behind] += members[group]
    return {split: sorted(names) for split, names in splits.items()}


def draw_folds(
    strata: Mapping[str, Hashable],
    count: int,
    *,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Cross-validation: ``fold0_train``, ``fold0_val``, ``fold1_train``, ...

    Every name is in the validation split of one fold and in the training split of all others.

    Args:
        strata, seed: see :func:`draw_splits`.
        count: of folds, 2 or more.
        groups: see :func:`draw_splits_of_groups`.

    Raises:
        DataError: there are too few names or groups.
    """
    fractions = {str(fold): 1 / count for fold in range(count)}
    if groups is None:
        parts = draw_splits(strata, fractions=fractions, seed=seed)
    else:
        parts = draw_splits_of_groups(strata, groups, fractions=fractions, seed=seed)
    folds = {}
    for fold, names in parts.items():
        folds[f"fold{fold}_train"] = sorted(set(strata) - set(names))
        folds[f"fold{fold}_val"] = names
    return folds


def _largest_remainder(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    # rounding first: 0.3 * 10 must not count as 3 and a remainder
    shares = {split: round(fraction * total, 9) for split, fraction in fractions.items()}
    sizes = {split: int(share) for split, share in shares.items()}
    by_remainder = sorted(shares, key=lambda split: sizes[split] - shares[split])
    for split in by_remainder[: total - sum(sizes.values())]:
        sizes[split] += 1
    return sizes


def write_splits(folder: str | Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write ``<split>.txt`` for each split into ``folder``, one name a line."""
    check_disjoint(splits, folder)
    for split, names in splits.items():
        write_text(Path(folder) / f"{split}.txt", "".join(f"{name}\n" for name in names))


def read_splits(
    folder: str | Path, splits: Sequence[str] = tuple(SPLIT_FRACTIONS)
) -> dict[str, list[str]]:
    """Read ``<split>.txt`` of each split from ``folder``. Empty lines are passed over.

    Raises:
        DataError: a list is missing, not text, or empty, or a name stands in two places.
    """
    result = {}
    for split in splits:
        path = Path(folder) / f"{split}.txt"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: the split list cannot be read ({error}); name the folder that holds "
                "train.txt, val.txt and test.txt, or draw new lists with --make-splits"
            ) from error
        result[split] = [line.strip() for line in lines if line.strip()]
        if not result[split]:
            raise DataError(f"{path}: the split list is empty; add names or draw new lists")
    check_disjoint(result, folder)
    return result


def check_disjoint(splits: Mapping[str, Sequence[str]], folder: str | Path) -> None:
    """Raise a DataError when a name stands in two lists, or twice in one."""
    places: dict[str, list[str]] = defaultdict(list)
    for split, names in splits.items():
        for name in names:
            places[name].append(f"{split}.txt")
    twice = {name: where for name, where in places.items() if len(where) > 1}
    if twice:
        name, where = next(iter(twice.items()))
        raise DataError(
            f"{folder}: {len(twice)} names stand in more than one place of the split lists, "
            f"such as {name} in {' and '.join(where)}; keep each name once"
        )

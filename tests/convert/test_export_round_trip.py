"""What is exported is read again, pixel for pixel; overlaps in label images by the stated rule."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from coco_source import truth_of, write_images
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from maskrcnnpp.convert.export import export_csv, export_labels, export_pngs
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.convert.readers.dsb2018_csv import Dsb2018CsvReader
from maskrcnnpp.convert.readers.labels import LabelsReader

_DOUBTS = ("pieces: is it a", "pieces: are they", "is it the background?")


@st.composite
def image_masks(draw, smallest: int) -> np.ndarray:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    masks = hnp.arrays(np.bool_, (height, width)).filter(np.any)
    found = draw(st.lists(masks, min_size=smallest, max_size=4))
    return np.array(found).reshape(-1, height, width)


def images(smallest: int = 0):
    """Masks, also overlapping and equal ones, of images."""
    return st.lists(image_masks(smallest), min_size=1, max_size=3).map(
        lambda of_images: {f"n{k}.png": masks for k, masks in enumerate(of_images)}
    )


def round_trip(found, function, reader):
    """Samples by name, read from what the function wrote."""
    with TemporaryDirectory() as folder:
        truth = truth_of(found)
        root, output = write_images(Path(folder) / "in", truth), Path(folder) / "out"
        counts = function(truth, root, output)
        problems = ProblemLog()
        samples = list(reader(output, problems).read(workers=0))
        if problems:  # random pixels may look like foreground, or like background
            assert all(any(w in p.reason for w in _DOUBTS) for p in problems.problems)
            reject()
        for sample in samples:
            assert sample.image == (root / f"{sample.name}.png").read_bytes()
        files = [path for path in output.rglob("*") if path.is_file()]
        assert reader.fits([path.relative_to(output).as_posix() for path in files])
    assert (counts.images, counts.objects) == (len(found), sum(map(len, found.values())))
    return {f"{sample.name}.png": sample for sample in samples}, counts


def decoded(sample) -> list[bytes]:
    return [coco_mask.decode(rle).astype(bool).tobytes() for rle in sample.masks]


# a folder each
FEWER = settings(max_examples=15)


@FEWER
@given(images(smallest=1))
def test_pngs_keep_every_pixel(found):
    samples, counts = round_trip(found, export_pngs, Dsb2018Reader)
    assert samples.keys() == found.keys() and counts.pixels_lost == counts.objects_cut == 0
    for name, masks in found.items():
        assert decoded(samples[name]) == [pixels.tobytes() for pixels in masks]


@FEWER
@given(images())
def test_tables_keep_every_pixel(found):
    samples, counts = round_trip(found, export_csv, Dsb2018CsvReader)
    assert samples.keys() == found.keys() and counts.pixels_lost == counts.objects_cut == 0
    assert counts.empty_images == sum(len(masks) == 0 for masks in found.values())
    for name, masks in found.items():
        assert decoded(samples[name]) == [pixels.tobytes() for pixels in masks]


def resolved(masks: np.ndarray) -> list[np.ndarray]:
    """What each object keeps: a pixel goes to the smallest one, the first of those of one area."""
    kept = np.zeros_like(masks)
    for row in range(masks.shape[1]):
        for column in range(masks.shape[2]):
            claims = [(masks[k].sum(), k) for k in range(len(masks)) if masks[k, row, column]]
            if claims:
                kept[min(claims)[1], row, column] = True
    return list(kept)


@FEWER
@given(images())
def test_label_images_keep_what_the_rule_says(found):
    samples, counts = round_trip(found, export_labels, LabelsReader)
    assert samples.keys() == found.keys()
    pixels_lost = cut = lost = 0
    for name, masks in found.items():
        kept = resolved(masks)
        assert decoded(samples[name]) == [pixels.tobytes() for pixels in kept if pixels.any()]
        differences = [int(a.sum() - b.sum()) for a, b in zip(masks, kept)]
        pixels_lost += sum(differences)
        cut += sum(difference > 0 for difference in differences)
        lost += sum(not pixels.any() for pixels in kept)
        if len(masks) == 0 or masks.sum(axis=0).max() <= 1:
            assert decoded(samples[name]) == [pixels.tobytes() for pixels in masks]
    assert (counts.pixels_lost, counts.objects_cut, counts.objects_lost) == (pixels_lost, cut, lost)

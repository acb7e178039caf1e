"""NIfTI volumes as sources of semantic data sets."""

import sys

import numpy as np
import pytest
from semantic_source import (
    THIRDS,
    convert,
    items_of,
    masks,
    numbers,
    save,
    save_nifti,
    write_volumes,
    written,
)

from maskrcnnpp.convert.semantic.label_map import LabelMap
from maskrcnnpp.convert.semantic.source import find_pairs, read_source
from maskrcnnpp.convert.semantic.write import drawn_splits
from maskrcnnpp.data.semantic import read_labels
from maskrcnnpp.errors import DataError

nibabel = pytest.importorskip("nibabel")
LIVER = LabelMap({"liver": (1,), "tumor": (2,)})


@pytest.fixture
def volumes(tmp_path):
    return write_volumes(tmp_path)


def test_volumes_are_cut_and_stay_together(volumes):
    items = items_of(volumes, window=(0, 100))
    assert [item.name for item in items[:2]] == ["0_z000", "0_z001"]
    assert items[0].image.shape == (6, 5) and items[0].group == "0"
    values = numbers(5, 6, 4, high=400, dtype=np.int16) - 200
    turned = np.rot90(values[..., 1]).astype(float)
    expected = np.rint(np.clip((turned + 50) / 100 * 255, 0, 255))
    assert np.abs(items[1].image - expected).max() <= 1
    assert (items[1].raw == np.rot90(numbers(5, 6, 4, high=3)[..., 1])).all()

    def draw(records):
        return drawn_splits(records, THIRDS)

    _, splits = convert(volumes, LIVER, draw, items=items, only_labelled=True)
    assert sorted(map(len, splits.values())) == [3, 3, 3]  # the last of each has no label
    assert all(len({name[0] for name in names}) == 1 for names in splits.values())
    assert set(np.unique(read_labels(written(volumes, "val")[0]))) == {0, 1, 2}


@pytest.mark.parametrize("axis, shape, count", [(0, (4, 6), 5), (1, (4, 5), 6), (2, (6, 5), 4)])
def test_volumes_are_cut_across_each_axis(volumes, axis, shape, count):
    items = [item for item in items_of(volumes, axis=axis) if item.group == "0"]
    assert [len(items), items[0].raw.shape, items[0].image.shape] == [count, shape, shape]
    assert items[0].name == f"0_{'xyz'[axis]}000"


def test_volumes_are_turned_alike_whatever_their_axes(tmp_path):
    values, labels = numbers(5, 6, 4, dtype=np.int16), numbers(5, 6, 4, high=3)
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 4  # the same place in the patient
    save_nifti(tmp_path / "plain" / "a.nii", values)
    save_nifti(tmp_path / "turned" / "a.nii", values[::-1], flipped)
    save_nifti(tmp_path / "labels" / "a.nii", labels)
    save_nifti(tmp_path / "labels_turned" / "a.nii", labels[::-1], flipped)
    first = list(read_source(tmp_path / "plain", tmp_path / "labels"))
    second = list(read_source(tmp_path / "turned", tmp_path / "labels_turned"))
    for one, other in zip(first, second, strict=True):
        assert (one.image == other.image).all() and (one.raw == other.raw).all()
    with pytest.raises(DataError, match=r"lie 4\.0 voxels apart"):
        list(read_source(tmp_path / "turned", tmp_path / "labels"))


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 1, 1)])
def test_volumes_of_one_slice(tmp_path, shape):
    image = save_nifti(tmp_path / "a.nii", numbers(*shape, dtype=np.int16))
    label = save_nifti(tmp_path / "b.nii", numbers(*shape, high=2))
    (item,) = read_source(image, label)
    assert item.name == "a_z000" and item.raw.shape == (6, 5)


def test_names_of_volumes(tmp_path):
    for name in ("BraTS20_Training_001_t1ce.nii.gz", "c_0000.nii.gz", "b.nii"):
        save_nifti(tmp_path / "images" / name, numbers(3, 3, 2))
    for name in ("BraTS20_Training_001_seg.nii.gz", "c_seg.nii.gz", "b-label.nii"):
        save_nifti(tmp_path / "labels" / name, numbers(3, 3, 2))
    pairs = find_pairs(tmp_path / "images", tmp_path / "labels")
    assert [pair.name for pair in pairs] == ["BraTS20_Training_001", "b", "c"]


def test_labels_of_the_next_slice_are_told(tmp_path):
    moved = np.eye(4)
    moved[2, 3] = 1
    image = save_nifti(tmp_path / "a.nii", numbers(5, 6, 4))
    with pytest.raises(DataError, match=r"lie 1\.0 voxels apart"):
        list(read_source(image, save_nifti(tmp_path / "b.nii", numbers(5, 6, 4, high=2), moved)))


def test_of_a_volume_that_is_nearly_all_air_the_rest_is_seen(tmp_path):
    values = np.zeros((20, 20, 4), np.int16)
    values[0, 0] = [10, 20, 30, 40]
    image = save_nifti(tmp_path / "a.nii", values)
    label = save_nifti(tmp_path / "b.nii", (values > 0).astype(np.uint8))
    found = [item.image.max() for item in read_source(image, label)]
    assert found == [64, 128, 191, 255]


def no_affine(array):
    return nibabel.Nifti1Image(array, None)


def test_volumes_that_cannot_be_used(tmp_path):
    good = save_nifti(tmp_path / "good.nii", numbers(5, 6, 4))

    def fails(pattern, array=None, image=None):
        bad = tmp_path / "bad.nii"
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)) if image is None else image, bad)
        with pytest.raises(DataError, match=pattern):
            list(read_source(bad, good))

    nan = numbers(5, 6, 4).astype(np.float32)
    nan[0, 0, 0] = np.nan
    fails(r"bad\.nii has values that are NaN", nan)
    fails(r"bad\.nii has 4 axes \(5x6x4x2\)", numbers(5, 6, 4, 2))
    fails(r"bad\.nii has 5x6x3 voxels, its labels .*good\.nii 5x6x4", numbers(5, 6, 3))
    fails(r"bad\.nii does not say how its axes lie", image=no_affine(numbers(5, 6, 4)))
    content = bytearray(good.read_bytes())
    content[280:296] = bytes(16)  # srow_x
    (tmp_path / "bad.nii").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.nii does not say .*singular"):
        list(read_source(tmp_path / "bad.nii", good))
    (tmp_path / "bad.nii").write_bytes(b"no volume")
    with pytest.raises(DataError, match=r"bad\.nii cannot be read as NIfTI"):
        list(read_source(tmp_path / "bad.nii", good))
    picture = save(tmp_path / "a.png", masks(5, 6))
    with pytest.raises(DataError, match="one is NIfTI, the other is not"):
        list(read_source(good, picture))
    halves = save_nifti(tmp_path / "halves.nii", numbers(5, 6, 4).astype(np.float32) / 2)
    with pytest.raises(DataError, match=r"halves\.nii has labels that are no whole numbers"):
        list(read_source(good, halves))


def test_without_nibabel_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    path = save_nifti(tmp_path / "a.nii", numbers(3, 3, 2))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError, match=r"a\.nii is NIfTI.*pip install 'maskrcnnpp.volumes"):
        list(read_source(path, path))

"""Semantic data sets: what raw values mean, what is written, and the tools."""

import ast
import json
import shlex

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from semantic_source import (
    CELL,
    convert,
    everything,
    items_of,
    masks,
    numbers,
    save,
    save_tiff,
    write_pictures,
    write_volumes,
    written,
)

from maskrcnnpp import cli
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.convert.semantic.label_map import LabelMap
from maskrcnnpp.convert.semantic.write import convert_semantic, semantic_train_command
from maskrcnnpp.convert.splits import fractions_of
from maskrcnnpp.data.semantic import read_labels
from maskrcnnpp.engine.setup import check_config
from maskrcnnpp.errors import ConfigError, DataError


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path)


@pytest.fixture
def volumes(tmp_path):
    return write_volumes(tmp_path)


def test_pictures_become_a_data_set_that_detectron2_reads(pictures):
    records, _ = convert(pictures)
    assert [len(records), records["a"].group] == [3, None]
    found = written(pictures)
    for number, record in enumerate(found):
        assert (read_labels(record) * 255 == masks(6, 8, seed=number)).all()
        assert (np.array(Image.open(record["file_name"])) == numbers(6, 8, 3, seed=number)).all()
    truth = json.loads((pictures / "out" / "annotations" / "semantic_train.json").read_text())
    assert truth["categories"] == [{"id": 1, "name": "cell"}]
    assert "annotations" not in truth and truth["info"]["generator"] == "maskrcnnpp"
    assert truth["images"][0] == {
        **{"id": 1, "file_name": "a.png", "height": 6, "width": 8},
        "sem_seg_file_name": "../labels/a.png",
    }


def test_masks_with_the_noise_of_jpeg_need_a_threshold(pictures):
    (pictures / "labels" / "a.png").unlink()
    clean = np.kron(masks(2, 2, seed=3), np.ones((16, 16), np.uint8))
    noisy = np.where(clean, 250, 4).astype(np.uint8)
    save(pictures / "images" / "a.png", numbers(32, 32))
    save(pictures / "labels" / "a.jpg", np.dstack([noisy] * 3))  # as Kvasir-SEG
    with pytest.raises(DataError, match=r"a\.jpg .*listed: .*\d+ pixels.*--threshold"):
        convert(pictures)
    assert not (pictures / "out").exists()
    convert(pictures, LabelMap({"cell": (255,)}, threshold=128))
    assert (read_labels(written(pictures)[0]) * 255 == clean).all()


@given(st.data())
def test_label_map_round_trip(data):
    values = data.draw(st.lists(st.integers(-300, 70000), min_size=2, max_size=12, unique=True))
    parts = data.draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)))
    by_part = {k: [v for v, part in zip(values, parts) if part == k] for k in range(5)}
    classes = {f"class {k}": by_part[k] for k in (2, 3, 4) if by_part[k]}
    assume(classes)
    label_map = LabelMap(classes, background=by_part[0], ignored=by_part[1])
    raw = np.array(data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=30)))
    labels = label_map.labels(raw, "a.png")
    meanings = [by_part[0], *classes.values(), *[[]] * (254 - len(classes)), by_part[1]]
    assert labels.dtype == np.uint8
    assert all(value in meanings[label] for value, label in zip(raw.tolist(), labels))


@pytest.mark.parametrize(
    "words, options, pattern",
    [
        (["a=1", "b=1,2"], {}, "raw value 1 is listed twice: for class a and for class b"),
        (["a=1"], {"background": [1]}, "for class a and for the background"),
        (["a=1"], {"background": [0], "ignored": [0]}, "background and for what is ignored"),
        (["a=x"], {}, "give NAME=VALUE"),
        (["a"], {}, "give NAME=VALUE"),
        (["=1"], {}, "needs a name"),
        (["a=1", "a=2"], {}, "'a' is listed twice"),
        ([], {}, "1 to 254 classes"),
        ([f"c{k}={k}" for k in range(255)], {}, "1 to 254 classes"),
        (["a=1"], {"threshold": 128}, "--threshold makes masks of 0 and 255"),
        (["a=255"], {"threshold": 0}, "--threshold 0"),
    ],
)
def test_label_maps_that_are_refused(words, options, pattern):
    with pytest.raises(ConfigError, match=pattern):
        LabelMap.from_words(words, **options)


def test_values_that_are_not_listed():
    raw = np.array([[0, 3, 3], [7, 1, 0]])
    assert LabelMap({"a": (0,)}).background == ()
    with pytest.raises(DataError, match=r"a\.png .*: 3 \(2 pixels\), 7 \(1 pixel\); .*--ignore"):
        LabelMap({"a": (1,)}).labels(raw, "a.png")
    found = LabelMap({"a": (1, 3)}, ignored=(7,)).labels(raw, "a.png")
    assert found.tolist() == [[0, 1, 1], [255, 1, 0]]


def test_a_former_result_is_replaced_and_nothing_else(pictures):
    convert(pictures)
    convert(pictures, items=items_of(pictures)[:2])
    names = sorted(path.name for path in (pictures / "out").rglob("*.*"))
    assert names == ["a.png", "a.png", "b.png", "b.png", "semantic_train.json"]
    (pictures / "out" / "labels" / "mine.png").touch()
    with pytest.raises(DataError, match=r"mine\.png: is not a file of this tool"):
        convert(pictures)
    (pictures / "out" / "labels" / "mine.png").unlink()
    (pictures / "out" / "annotations" / "semantic_train.json").write_text('{"images": []}')
    with pytest.raises(DataError, match=r"semantic_train\.json: was not written by this tool"):
        convert(pictures)
    with pytest.raises(DataError, match="is not a file of this tool"):
        convert_semantic(items_of(pictures), pictures, CELL, everything, info={})


def test_a_failure_leaves_the_former_result(pictures):
    convert(pictures)
    before = {path: path.read_bytes() for path in (pictures / "out").rglob("*.*")}
    save(pictures / "labels" / "c.png", numbers(6, 8))
    with pytest.raises(DataError, match="not listed"):
        convert(pictures)
    assert {path: path.read_bytes() for path in (pictures / "out").rglob("*.*")} == before
    with pytest.raises(DataError, match="no image is left"):
        convert(pictures, items=[])
    twice = [items_of(pictures)[0]] * 2
    with pytest.raises(DataError, match="two images have the name a"):
        convert(pictures, items=twice)


def run(kind, capsys, *argv):
    status = 0
    try:
        cli.main(["prepare", kind, *map(str, argv)])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    return status, out, err


def test_the_tool(pictures, capsys):
    where = [f"--{k}={pictures / k}" for k in ("images", "labels")] + [f"--output={pictures}/out"]
    parts = ["--fractions", "train=0.6", "val=0.4", "--seed", "1"]
    status, out, _ = run("semantic", capsys, *where, "--classes", "cell=255", *parts)
    assert status == 0 and "| train   |        2 |" in out
    assert f"DATASETS.TRAIN \"('{pictures}/out/annotations/semantic_train.json',)\"" in out
    assert [len(written(pictures, split)) for split in ("train", "val")] == [2, 1]

    status, _, err = run("semantic", capsys, *where, "--classes", "cell=1")
    assert status == 2 and "255" in err and "--background" in err
    bad = ["--fractions", "train=0.6"]
    status, _, err = run("semantic", capsys, *where, "--classes", "cell=255", *bad)
    assert status == 2 and "together they are 1" in err


def test_the_tool_with_lists(volumes, capsys):
    lists = volumes / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("0\n")  # a volume
    (lists / "val.txt").write_text("1_z001\n1_z002\n")
    where = [f"--{k}={volumes / k}" for k in ("images", "labels")] + [f"--output={volumes}/out"]
    args = [*where, "--classes", "liver=1", "tumor=2", "--splits", lists]
    status, out, _ = run("semantic", capsys, *args)
    assert status == 0 and "6 images are in no split list" in out
    assert "NUM_CLASSES 3" in out
    assert len(list((volumes / "out" / "labels").iterdir())) == 6
    (lists / "val.txt").write_text("0_z001\n")
    status, _, err = run("semantic", capsys, *args)
    assert status == 2 and "more than one place" in err
    (lists / "val.txt").write_text("9\n")
    status, _, err = run("semantic", capsys, *args)
    assert status == 2 and "val.txt: 1 names are not in the source, such as 9" in err
    status, _, err = run("semantic", capsys, *args, "--seed", "1")
    assert status == 2 and "leave out --fractions and --seed" in err


def test_the_tool_of_isbi_draws_the_same_of_folders_and_stacks(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    volume, labels = numbers(30, 6, 8), masks(30, 6, 8)
    save_tiff(tmp_path / "stack" / "train-volume.tif", volume)
    save_tiff(tmp_path / "stack" / "train-labels.tif", labels)
    for number in range(30):
        save(tmp_path / "folders" / "images" / f"{number}.png", volume[number])
        save(tmp_path / "folders" / "labels" / f"{number}.png", labels[number])
    result = tmp_path / "data" / "isbi2012_em" / "annotations"
    found = []
    for source in ("stack", "folders"):
        status, _, err = run("isbi-em", capsys, "--source", tmp_path / source)
        assert status == 0, err
        found.append([path.read_text() for path in sorted(result.iterdir())])
    assert found[0] == found[1]
    assert sorted(len(json.loads(text)["images"]) for text in found[0]) == [3, 3, 24]
    assert json.loads(found[0][0])["categories"] == [{"id": 1, "name": "membrane"}]
    status, _, err = run("isbi-em", capsys, "--source", tmp_path)
    assert status == 2 and "has neither images and labels, nor train-volume.tif" in err


def test_the_command_names_the_splits_that_there_are():
    assert "DATASETS.TEST \"('o/annotations/semantic_val.json',)\"" in semantic_train_command(
        "o", {}, {"test": [], "train": [], "val": []}, CELL
    )
    only = semantic_train_command("o", {}, {"all": []}, CELL)
    assert only.count("semantic_all.json") == 2 and "NUM_CLASSES" not in only


@pytest.mark.parametrize("output", ["o", "my data", "o'clock", 'a"b', "$x"])
def test_the_command_can_be_pasted_into_a_shell(output):
    words = shlex.split(semantic_train_command(output, {}, {"train": [], "val": []}, CELL))
    named = ast.literal_eval(words[words.index("DATASETS.TEST") + 1])
    assert named == (f"{output}/annotations/semantic_val.json",)


def test_the_command_of_images_of_16_bits_says_how_they_are_read(tmp_path):
    for name in "ab":
        save(tmp_path / "images" / f"{name}.png", numbers(64, 64, high=5000, dtype=np.uint16))
        save(tmp_path / "labels" / f"{name}.png", masks(64, 64))
    items = items_of(tmp_path)
    records, splits = convert_semantic(items, tmp_path / "o", CELL, everything, info={})
    words = shlex.split(semantic_train_command(tmp_path / "o", records, splits, CELL))
    cfg = build_config(words[3], ["MODEL.DEVICE", "cpu", *words[4:]])
    check_config(cfg)
    assert cfg.INPUT.PERCENTILES == [1.0, 99.8]


@pytest.mark.parametrize("words", [["x/y=1"], ["train=0.5", "train=0.5"]])
def test_names_of_splits_that_are_none(words):
    with pytest.raises(ConfigError, match="names of splits are of letters"):
        fractions_of(words)

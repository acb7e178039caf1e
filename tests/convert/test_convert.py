"""Any data set to COCO: the tool, splits, and training on the result by its file name."""

import io
import json
import shlex
import zipfile

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnnpp import cli
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.convert.coco_dataset import ImageRecord
from maskrcnnpp.convert.convert import find_layout, groups_by_pattern, open_reader
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.source import is_hidden
from maskrcnnpp.convert.splits import draw_folds, draw_splits_of_groups
from maskrcnnpp.convert.summary import next_step
from maskrcnnpp.engine.setup import check_config
from maskrcnnpp.errors import ConfigError, DataError


def tiff(array):
    file = io.BytesIO()
    tifffile.imwrite(file, array)
    return file.getvalue()


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def labels(seed, shape=(40, 50)):
    """Squares with numbers that skip some."""
    made = np.zeros(shape, np.uint16)
    for number in range(4):
        made[2 + 9 * number : 8 + 9 * number, 3 + seed : 9 + seed] = 7 * number + 1
    return made


def image(seed, shape=(40, 50)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def source(tmp_path, count=6, pattern="p{k}_s{n}", kind="folder"):
    files = {}
    for n in range(count):
        name = pattern.format(k=n // 2, n=n)
        files[f"images/{name}.png"] = png(image(n))
        files[f"labels/{name}.tif"] = tiff(labels(n))
    return written(tmp_path, files, kind)


def written(tmp_path, files, kind="folder"):
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return tmp_path / "source.zip"
    for name, data in files.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "source"


def convert(*words):
    cli.run("convert", [str(word) for word in words])


def coco(output, split="all"):
    return json.loads((output / "annotations" / f"instances_{split}.json").read_text())


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("layout", ["auto", "labels"])
def test_label_images(tmp_path, kind, layout, capsys):
    given, output = source(tmp_path, kind=kind), tmp_path / "out"
    convert("--format", layout, "--input", given, "--output", output)
    found = coco(output)
    assert [i["file_name"] for i in found["images"]] == [f"p{n // 2}_s{n}.png" for n in range(6)]
    for entry in found["images"]:
        seed = entry["id"] - 1
        masks = [
            coco_mask.decode(a["segmentation"])
            for a in found["annotations"]
            if a["image_id"] == entry["id"]
        ]
        expected = labels(seed)
        assert len(masks) == 4
        for mask, number in zip(masks, np.unique(expected)[1:]):
            assert (mask == (expected == number)).all()
        assert (np.asarray(Image.open(output / "images" / entry["file_name"])) == image(seed)).all()
    assert "instances_all.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a.png", "a_masks.tif"), ("a.png", "a_masks.tif")),
        (("train/a b.jpg", "train/a b_label.png"), ("train/a b.jpg", "train/a b_label.png")),
        (("x/images/ä.tif", "x/masks/ä.npy"), ("x/images/ä.tif", "x/masks/ä.npy")),
        (("images/a.tif", "masks/a_mask.tif"), ("images/a.tif", "masks/a_mask.tif")),
        (("Images/a.tif", "Labels/a.tif"), ("Images/a.tif", "Labels/a.tif")),
        (
            ("s/rawimages/a.tif", "s/groundtruth/a.tif"),
            ("s/rawimages/a.tif", "s/groundtruth/a.tif"),
        ),
        (("a.png", "a_seg.npy", "a_cp_masks.png"), ("a.png", "a_cp_masks.png")),
        (("a.png", "b_masks.png"), None),
        (("labels/a.png", "labels/a_label.png"), ("labels/a.png", "labels/a_label.png")),
    ],
)
def test_how_label_images_are_found(names, expected):
    from maskrcnnpp.convert.readers.label_names import find_pairs
    from maskrcnnpp.images.companions import LABEL_ENDINGS

    assert find_pairs(names, LABEL_ENDINGS)[0] == ([expected] if expected else [])


def test_pairs_by_list_and_by_ending(tmp_path):
    files = {"one.png": png(image(0)), "two.tif": tiff(labels(0)), "one-gt.tif": tiff(labels(0))}
    given = written(tmp_path, files)
    (tmp_path / "pairs.csv").write_text("image,labels\none.png,two.tif\n")
    for words in (["--pairs", tmp_path / "pairs.csv"], ["--label-ending=-gt", "--skip-bad"]):
        output = tmp_path / words[0].strip("-").replace("=", "")
        convert("--format", "labels", "--input", given, "--output", output, *words)
        assert len(coco(output)["annotations"]) == 4
    (tmp_path / "pairs.csv").write_text("image,labels\none.png,three.tif\n")
    with pytest.raises(DataError, match="line 2: 'three.tif' is not in the source"):
        convert(
            "--format",
            "labels",
            "--input",
            given,
            "--output",
            tmp_path / "x",
            *words[:0],
            "--pairs",
            tmp_path / "pairs.csv",
        )
    (tmp_path / "pairs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match='needs the columns "image" and "labels"'):
        convert(
            "--format",
            "labels",
            "--input",
            given,
            "--output",
            tmp_path / "x",
            "--pairs",
            tmp_path / "pairs.csv",
        )


BAD = {
    "cut short": (png(image(0)), tiff(labels(0))[:500], "a.tif.*cut short|a.tif.*cannot be read"),
    "no image": (b"text", tiff(labels(0)), "a.png.*cannot be read"),
    "empty file": (b"", tiff(labels(0)), "a.png.*cannot be read"),
    "other size": (
        png(image(0)),
        tiff(labels(0, (40, 51))),
        "is of 51x40 pixels, but the image images/a.png is of 50x40",
    ),
    "negative": (
        png(image(0)),
        tiff(labels(0).astype(np.int16) - 1),
        "negative numbers, such as -1",
    ),
    "fractions": (png(image(0)), tiff(labels(0) / np.float32(2)), "no integers: is it a prob"),
    "not finite": (png(image(0)), tiff(np.full((40, 50), np.nan, np.float32)), "no integers"),
    "a stack": (png(image(0)), tiff(np.zeros((5, 40, 50), np.uint16)), "is a stack"),
    "channels": (
        png(image(0)),
        tiff(np.stack([labels(0), labels(1), labels(2)], axis=-1).astype(np.int32)),
        "is not a label image: 40x50x3",
    ),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("what", BAD)
def test_bad_label_images(tmp_path, what, kind):
    bad_image, bad_labels, words = BAD[what]
    files = {"images/a.png": bad_image, "labels/a.tif": bad_labels}
    files |= {"images/b.png": png(image(1)), "labels/b.tif": tiff(labels(1))}
    given, output = written(tmp_path, files, kind), tmp_path / "out"
    with pytest.raises(DataError, match=words):
        convert("--format", "labels", "--input", given, "--output", output)
    assert not output.exists()
    convert("--format", "labels", "--input", given, "--output", output, "--skip-bad")
    assert [i["file_name"] for i in coco(output)["images"]] == ["b.png"]
    assert "image\t" in (output / "annotations" / "left_out.txt").read_text()


def test_a_bomb_and_a_large_image_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("maskrcnnpp.images.plain.LARGEST", 1000)
    given = source(tmp_path, 1)
    with pytest.raises(DataError, match="p0_s0.png: is too large: 50x40 pixels"):
        convert("--format", "labels", "--input", given, "--output", tmp_path / "out")
    monkeypatch.setattr("maskrcnnpp.convert.source._LARGEST_MEMBER", 10)
    given = source(tmp_path, 1, kind="zip")
    with pytest.raises(DataError, match="p0_s0.png: would unpack to"):
        convert("--format", "labels", "--input", given, "--output", tmp_path / "out")


def test_labels_of_other_types(tmp_path):
    files = {}
    for kind in ("uint8", "uint32", "int64", "float64", "bool"):
        array = labels(0).astype(kind)
        files[f"images/{kind}.png"] = png(image(0))
        file = io.BytesIO()
        np.save(file, array)
        files[f"labels/{kind}.npy"] = file.getvalue()
    huge = np.where(labels(0) > 0, labels(0).astype(np.uint32) + 4_000_000_000, 0)
    files |= {"images/huge.png": png(image(0)), "labels/huge.tif": tiff(huge.astype(np.uint32))}
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    files |= {"images/z.png": png(image(0)), "labels/z.npy": pickled.getvalue()}
    problems = ProblemLog(skip_bad=True)
    reader = open_reader("labels", written(tmp_path, files), problems, {})
    counts = {sample.name: len(sample.masks) for sample in reader.read(workers=0)}
    assert counts == {"uint8": 4, "uint32": 4, "int64": 4, "float64": 4, "huge": 4}
    assert [p.item for p in problems.problems] == ["labels/bool.npy", "labels/z.npy"]
    assert "has one value, 1, in 4 pieces" in problems.problems[0].reason


def test_names_that_clash_or_lead_out(tmp_path):
    pair = {"png": png(image(0)), "tif": tiff(labels(0))}
    files = {"images/a.png": pair["png"], "images/a_masks.tif": pair["tif"]}
    files |= {"img/a.png": pair["png"], "img/a_masks.tif": pair["tif"]}
    files |= {"../images/b.png": pair["png"], "../labels/b.tif": pair["tif"]}
    problems = ProblemLog(skip_bad=True)
    reader = open_reader("labels", written(tmp_path, files, "zip"), problems, {})
    assert [s.name for s in reader.read(workers=0)] == ["a"]
    assert any("two images would be called a" in p.reason for p in problems.problems)
    assert any("leads out of the source" in p.reason for p in problems.problems)


def test_an_ending_of_labels_says_that_they_are_label_images(tmp_path):
    files = {}
    for n in range(2):
        files |= {f"{n}.tif": tiff(image(n)), f"{n}_Nuclei.tif": tiff(labels(n))}
    where = str(written(tmp_path, files))
    with pytest.raises(DataError, match="looks like none of the known layouts"):
        open_reader("auto", where, ProblemLog(), {})
    reader = open_reader("auto", where, ProblemLog(), {"label_ending": "_Nuclei"})
    assert len(reader.names) == 2


def test_labels_of_ome_tiff_may_be_called_without_ome(tmp_path):
    files = {}
    for n in range(2):
        files |= {f"images/{n}.ome.tif": tiff(image(n)), f"labels/{n}.tif": tiff(labels(n))}
    reader = open_reader("auto", str(written(tmp_path, files)), ProblemLog(), {})
    assert len(reader.names) == 2


def test_images_without_objects_are_told(tmp_path, capsys):
    files = {"images/a.png": png(image(0)), "labels/a.png": png(0 * image(0))}
    words = ["convert", "--input", str(written(tmp_path, files)), "--output"]
    assert cli.main([*words, str(tmp_path / "none")]) == 0
    assert "no image has an object, so that there is nothing" in capsys.readouterr().out
    files |= {"images/b.png": png(image(1)), "labels/b.tif": tiff(labels(1))}
    written(tmp_path, files)
    assert cli.main([*words, str(tmp_path / "out")]) == 0
    assert "a.png: has no object: a training leaves it out" in capsys.readouterr().out


def test_layouts_that_cannot_be_told(tmp_path):
    with pytest.raises(DataError, match="none of the known layouts; put label images into images"):
        find_layout(written(tmp_path, {"a.txt": b""}))
    with pytest.raises(ConfigError, match="there is none; choose of"):
        open_reader("kaggle", tmp_path / "source", ProblemLog(), {})
    with pytest.raises(
        ConfigError, match="--watershed is not an option of the format labels, which"
    ):
        open_reader("labels", tmp_path / "source", ProblemLog(), {"watershed": True})
    with pytest.raises(DataError, match="holds no image with a label image"):
        open_reader("labels", tmp_path / "source", ProblemLog(), {})


def test_splits_of_the_tool(tmp_path):
    given, output = source(tmp_path, 12), tmp_path / "out"
    common = ["--input", given, "--output", output]
    convert(*common, "--fractions", "train=0.5", "val=0.5", "--write-lists", tmp_path / "lists")
    names = {s: [i["file_name"] for i in coco(output, s)["images"]] for s in ("train", "val")}
    assert len(names["train"]) == len(names["val"]) == 6
    convert(*common, "--split-lists", tmp_path / "lists")
    assert names["val"] == [i["file_name"] for i in coco(output, "val")["images"]]
    convert(*common, "--fractions", "train=0.5", "val=0.5", "--group-by", "^(p[0-9]+)_")
    seen = {s: {i["file_name"][:2] for i in coco(output, s)["images"]} for s in ("train", "val")}
    assert len(seen["train"]) == len(seen["val"]) == 3 and not seen["train"] & seen["val"]
    convert(*common, "--folds", "3")
    folds = [coco(output, f"fold{k}_val")["images"] for k in range(3)]
    assert sorted(i["file_name"] for f in folds for i in f) == sorted(sum(names.values(), []))
    assert len(coco(output, "fold0_train")["images"]) == 8
    rows = "\n".join(f"p{n // 2}_s{n},{'ab'[n % 2]}" for n in range(12))
    (tmp_path / "groups.csv").write_text("name,group\n" + rows)
    convert(*common, "--fractions", "a=0.5", "b=0.5", "--groups", tmp_path / "groups.csv")
    assert {int(i["file_name"][4:-4]) % 2 for i in coco(output, "a")["images"]} in ({0}, {1})


@pytest.mark.parametrize("bits", [8, 16])
def test_the_command_that_is_told_trains_on_what_was_written(tmp_path, capsys, bits):
    files = {}
    for n in range(4):
        pixels = image(n) if bits == 8 else image(n).astype(np.uint16) * 200
        files |= {f"images/{n}.png": png(pixels), f"labels/{n}.tif": tiff(labels(n))}
    where = written(tmp_path, files)
    words = ["convert", "--input", str(where), "--output", str(tmp_path / "out")]
    assert cli.main([*words, "--fractions", "train=0.5", "val=0.5"]) == 0
    command = capsys.readouterr().out.strip().splitlines()[-1]
    told = shlex.split(command)
    assert told[:3] == ["maskrcnnpp", "train", "--config-file"]
    cfg = build_config(told[3], ["MODEL.DEVICE", "cpu", *told[4:]])
    check_config(cfg)
    assert cfg.DATASETS.TRAIN == (f"{tmp_path}/out/annotations/instances_train.json",)
    assert cfg.DATASETS.TEST == (f"{tmp_path}/out/annotations/instances_val.json",)
    assert list(cfg.INPUT.PERCENTILES) == ([] if bits == 8 else [1.0, 99.8])


def test_the_command_names_what_the_images_need(tmp_path):
    file = tmp_path / "images/a.tif"
    file.parent.mkdir()
    tifffile.imwrite(file, np.zeros((5, 8, 8), np.uint8), metadata={"axes": "CYX"})
    records = {"a": ImageRecord("a.tif", 8, 8, "", (None,), (1,))}
    text = next_step(tmp_path, records, {"all": ["a"]}, classes=3)
    assert "5 channels" in text and "maskrcnnpp inspect --annotations" in text
    tifffile.imwrite(file, np.zeros((8, 8, 4), np.uint8), photometric="rgb")
    text = next_step(tmp_path, records, {"all": ["a"]}, classes=3)
    assert "NUM_CLASSES 3" in text and 'DATASETS.TEST "()"' in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fractions", "train=0.5"], "together they are 1"),
        (["--fractions", "train"], "give such as"),
        (["--folds", "1"], "at least 2"),
        (["--folds", "2", "--fractions", "a=1"], "choose one way"),
        (["--group-by", "x"], "goes with --fractions"),
        (["--folds", "2", "--group-by", "("], "not a regular expression"),
        (["--folds", "2", "--group-by", "q"], "matches nothing in the name"),
        (["--folds", "9"], "too few"),
        (["--folds", "2", "--groups", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["--split-lists", "tests"], "there is no list"),
        (["--watershed"], "not an option of the format labels"),
    ],
)
def test_splits_that_cannot_be(tmp_path, words, message):
    given = source(tmp_path, 4)
    with pytest.raises((ConfigError, DataError), match=message):
        convert("--format", "labels", "--input", given, "--output", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


@given(st.lists(st.integers(0, 9), min_size=3, max_size=60), st.integers(0, 5), st.integers(2, 3))
def test_groups_are_never_divided(groups_of, seed, count):
    names = {f"n{k}": f"g{g}" for k, g in enumerate(groups_of)}
    fractions = {str(k): 1 / count for k in range(count)}
    strata = {name: int(name[1:]) % 2 for name in names}
    if len(set(groups_of)) < count:
        with pytest.raises(DataError, match="too few"):
            draw_splits_of_groups(strata, names, fractions=fractions, seed=seed)
        return
    splits = draw_splits_of_groups(strata, names, fractions=fractions, seed=seed)
    assert sorted(n for part in splits.values() for n in part) == sorted(names)
    seen = [{names[n] for n in part} for part in splits.values()]
    assert all(seen) and sum(map(len, seen)) == len(set(groups_of))
    shuffled = dict(reversed(names.items()))
    assert draw_splits_of_groups(strata, shuffled, fractions=fractions, seed=seed) == splits
    folds = draw_folds(strata, count, groups=names, seed=seed)
    for k in range(count):
        train, val = folds[f"fold{k}_train"], folds[f"fold{k}_val"]
        assert sorted(train + val) == sorted(names)
        assert not {names[n] for n in train} & {names[n] for n in val}


def test_the_group_of_a_name():
    assert groups_by_pattern(["p1_a", "p2_b"], "^p[0-9]") == {"p1_a": "p1", "p2_b": "p2"}
    assert groups_by_pattern(["p1_a"], "p([0-9])_") == {"p1_a": "1"}


def test_by_products_of_systems_are_hidden():
    for name in (".DS_Store", "a/.b/c.png", "__MACOSX/a/b.png", "a/._b.png"):
        assert is_hidden(name)
    for name in ("a.png", "./a/b.png", "a/b.c/d.png"):
        assert not is_hidden(name)

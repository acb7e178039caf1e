"""The DSB2018 reader and its tool, on good and on bad sources."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnnpp.data.problems import ProblemLog
from maskrcnnpp.data.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.errors import DataError

DATASETS = Path(__file__).parents[2] / "datasets"


def load_tool(name: str):
    spec = importlib.util.spec_from_file_location(name, DATASETS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prepare_dsb2018 = load_tool("prepare_dsb2018")
prepare_synthetic = load_tool("prepare_synthetic")


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "png")
    return buffer.getvalue()


def mask(top: int, left: int, height: int, width: int, shape=(12, 16), value=255) -> bytes:
    full = np.zeros(shape, np.uint8)
    full[top : top + height, left : left + width] = value
    return png(full)


NOISE = np.random.default_rng(0).integers(0, 60, (12, 16, 4), dtype=np.uint8)


def good_files(ids: str = "abcdef") -> dict[str, bytes]:
    """A source of small images with two objects each."""
    files = {}
    for name in ids:
        files[f"{name}/images/{name}.png"] = png(NOISE)
        files[f"{name}/masks/1.png"] = mask(1, 2, 3, 4)
        files[f"{name}/masks/2.png"] = mask(10, 14, 2, 2)
    return files


def write_source(path: Path, files: dict[str, bytes], kind: str) -> Path:
    if kind == "zip":
        path = path / "source.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    path = path / "source"
    path.mkdir()
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def read(source: Path, workers: int = 0):
    problems = ProblemLog(skip_bad=True)
    return list(Dsb2018Reader(source, problems).read(workers=workers)), problems


@pytest.fixture(params=["zip", "folder"])
def kind(request) -> str:
    return request.param


@pytest.mark.parametrize("top", ["", "stage1_train/"])
def test_good_source(tmp_path, kind, top):
    files = {top + name: data for name, data in good_files().items()}
    extra = {
        "__MACOSX/a/images/._a.png": b"x",
        top + "a/images/.DS_Store": b"x",
        top + "a/images/._a.png": b"x",
        top + "a/masks/Thumbs.db": b"x",
        "readme.txt": b"x",
    }
    source = write_source(tmp_path, {**files, **extra}, kind)
    samples, problems = read(source)
    assert not problems
    assert [sample.name for sample in samples] == list("abcdef")
    for sample in samples:
        assert sample.image == files[f"{top}{sample.name}/images/{sample.name}.png"]
        assert (sample.suffix, sample.height, sample.width) == (".png", 12, 16)
        assert sample.category_ids == (1, 1)
        assert [coco_mask.toBbox(rle).tolist() for rle in sample.masks] == [
            [2, 1, 4, 3],
            [14, 10, 2, 2],
        ]
    assert read(source, workers=2)[0] == samples


@pytest.mark.parametrize(
    ("image", "stain"),
    [
        (png(NOISE[..., 0]), "fluorescence"),
        (png(NOISE[..., :3] // 30 + 200), "brightfield"),
        (png(NOISE[..., :3] + np.array([190, 100, 180], np.uint8)), "histology"),
        (png(NOISE[..., 0], "LA"), "fluorescence"),
    ],
)
def test_image_modes(tmp_path, image, stain):
    files = {**good_files("a"), "a/images/a.png": image}
    (sample,), problems = read(write_source(tmp_path, files, "zip"))
    assert (sample.stain, len(problems)) == (stain, 0)


def opaque(mode: str) -> bytes:
    return png(np.asarray(Image.open(io.BytesIO(mask(1, 2, 3, 4)))), mode)


@pytest.mark.parametrize(
    "data",
    [
        mask(1, 2, 3, 4, value=1),
        opaque("RGB"),
        opaque("RGBA"),
        opaque("LA"),
        opaque("1"),
        opaque("P"),
        opaque("I;16"),
    ],
)
def test_whatever_is_not_zero_in_a_mask_is_object(tmp_path, data):
    files = {**good_files("a"), "a/masks/1.png": data}
    (sample,), problems = read(write_source(tmp_path, files, "zip"))
    assert not problems
    assert coco_mask.decode(sample.masks[0]).sum() == 12
    assert coco_mask.toBbox(sample.masks[0]).tolist() == [2, 1, 4, 3]


def replace(name: str, change):
    def edit(files: dict[str, bytes]) -> None:
        files[name] = change(files[name])

    return edit


def drop(start: str):
    return lambda files: [files.pop(name) for name in list(files) if name.startswith(start)]


def add(name: str, data: bytes):
    return lambda files: files.__setitem__(name, data)


# what is done to image b, what the message says, and the objects of b that remain (None: no b)
BAD = {
    "truncated image": (
        replace("b/images/b.png", lambda d: d[: len(d) // 2]), "b/images/b.png: damaged", None,
    ),
    "image without its end": (
        replace("b/images/b.png", lambda d: d[:60]), "b/images/b.png: damaged", None,
    ),
    "image that is no image": (
        replace("b/images/b.png", lambda d: b"text"), "b/images/b.png: damaged", None,
    ),
    "empty image file": (replace("b/images/b.png", lambda d: b""), "b/images/b.png", None),
    "16-bit image": (
        add("b/images/b.png", png(np.zeros((12, 16), np.uint16))), "8-bit grey, RGB or RGBA", None,
    ),
    "truncated mask": (
        replace("b/masks/2.png", lambda d: d[:-20]), "b/masks/2.png: damaged", None,
    ),
    "mask of another size": (
        add("b/masks/2.png", mask(0, 0, 2, 2, (16, 12))), "mask of 12x16 pixels", None,
    ),
    "empty mask": (add("b/masks/2.png", mask(0, 0, 0, 0)), "b/masks/2.png: the mask is empty", 1),
    "missing image": (drop("b/images"), "b: missing image", None),
    "no masks": (drop("b/masks"), "b: no masks", None),
    "several images": (add("b/images/c.png", png(NOISE)), "b: 2 images", None),
    "duplicate id": (
        add("again/b/images/b.png", png(NOISE)), "duplicate id, found in again/b and b", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, kind, case):
    change, message, remaining = BAD[case]
    files = good_files()
    change(files)
    source = write_source(tmp_path, files, kind)

    samples, problems = read(source)
    objects = {sample.name: len(sample.masks) for sample in samples}
    assert objects.get("b") == remaining
    assert {name: n for name, n in objects.items() if name != "b"} == dict.fromkeys("acdef", 2)
    assert len(problems) == 1
    assert message in problems.lines().replace("\t", ": ")

    problems.skip_bad = False
    with pytest.raises(DataError, match="--skip-bad") as error:
        problems.raise_unless_skipped(source)
    assert message in str(error.value) and str(source) in str(error.value)


def test_changed_bytes_are_noticed(tmp_path, kind):
    source = write_source(tmp_path, good_files(), kind)
    path = source if kind == "zip" else source / "b" / "images" / "b.png"
    data = bytearray(path.read_bytes())
    # somewhere in the middle of the first image's pixels, which are stored as they are
    data[300] ^= 0x10
    path.write_bytes(data)
    samples, problems = read(source)
    assert len(samples) == 5 and len(problems) == 1


def test_a_file_stored_twice_in_an_archive(tmp_path):
    source = write_source(tmp_path, good_files(), "zip")
    with zipfile.ZipFile(source, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("b/masks/1.png", mask(0, 0, 1, 1))
    samples, problems = read(source)
    assert len(samples) == 5 and "twice" in problems.lines()


@pytest.mark.parametrize(
    "name", ["../x/images/x.png", "/etc/images/x.png", "..\\x\\images\\x.png", "C:/x/images/x.png"]
)
def test_a_path_that_leads_out_of_the_archive(tmp_path, name):
    source = write_source(tmp_path, {**good_files(), name: png(NOISE)}, "zip")
    samples, problems = read(source)
    assert len(samples) == 6 and [p.item for p in problems.problems] == [name]
    assert [path.name for path in tmp_path.rglob("*")] == ["source.zip"]


def test_an_id_that_is_no_file_name(tmp_path):
    files = {**good_files(), "x\ny/images/x.png": png(NOISE), "x\ny/masks/1.png": mask(0, 0, 1, 1)}
    samples, problems = read(write_source(tmp_path, files, "zip"))
    assert len(samples) == 6 and "file name" in problems.lines()


def no_source(tmp_path):
    return tmp_path / "nowhere.zip"


def truncated_zip(tmp_path):
    source = write_source(tmp_path, good_files(), "zip")
    source.write_bytes(source.read_bytes()[:-200])
    return source


def text_file(tmp_path):
    (tmp_path / "source.zip").write_text("hello")
    return tmp_path / "source.zip"


def empty_folder(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def other_layout(tmp_path):
    return write_source(tmp_path, {"images/a.png": png(NOISE), "a/b/c/images/d.png": b""}, "zip")


@pytest.mark.parametrize("skip_bad", [[], ["--skip-bad"]])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_source, "does not exist"),
        (truncated_zip, "not a zip archive, or cut short"),
        (text_file, "not a zip archive, or cut short"),
        (empty_folder, "holds no <id>/images"),
        (other_layout, "holds no <id>/images"),
    ],
)
def test_a_source_of_no_use(tmp_path, capsys, make, message, skip_bad):
    source = make(tmp_path)
    status, _, err = run_tool(capsys, "--source", source, "--output", tmp_path / "out", *skip_bad)
    assert status == 2
    assert err.startswith(f"error: {source}: ") and message in err
    assert not (tmp_path / "out").exists()


def run_tool(capsys, *argv) -> tuple[int, str, str]:
    status = 0
    try:
        prepare_dsb2018.main([str(arg) for arg in argv])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def prepare(tmp_path, capsys):
    """Run the tool with lists of its own: a, b, c train; d val; e, f test."""
    splits = tmp_path / "splits"
    splits.mkdir()
    for split, names in {"train": "abc", "val": "d", "test": "ef"}.items():
        (splits / f"{split}.txt").write_text("\n".join(names))

    def run(source, *argv):
        arguments = ("--source", source, "--output", tmp_path / "out", "--split-dir", splits)
        return run_tool(capsys, *arguments, *argv)

    return run


def test_tool(tmp_path, prepare, kind):
    source = write_source(tmp_path, good_files("abcdefxy"), kind)
    status, out, _ = prepare(source)
    assert status == 0
    assert "2 images are in no split list" in out
    assert "tools/train_net.py" in out
    written = {p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/*/*")}
    assert written == {f"images/{name}.png" for name in "abcdef"} | {
        f"annotations/instances_{split}.json" for split in ("train", "val", "test")
    }
    assert (tmp_path / "out/images/a.png").read_bytes() == good_files()["a/images/a.png"]
    train = COCO(tmp_path / "out/annotations/instances_train.json")
    assert [image["file_name"] for image in train.dataset["images"]] == ["a.png", "b.png", "c.png"]
    assert [ann["bbox"] for ann in train.loadAnns([1, 2])] == [[2, 1, 4, 3], [14, 10, 2, 2]]
    assert [ann["area"] for ann in train.loadAnns([1, 2])] == [12, 4]
    assert len(train.anns) == 6


def test_tool_reports_all_problems_and_writes_nothing(tmp_path, prepare):
    files = good_files()
    files["a/masks/2.png"] = files["a/masks/2.png"][:-20]
    files["b/masks/2.png"] = mask(0, 0, 0, 0)
    del files["c/images/c.png"]
    source = write_source(tmp_path, files, "zip")
    status, out, err = prepare(source)
    assert status == 2 and "3 problems" in err
    for text in ("a/masks/2.png: damaged", "b/masks/2.png: the mask is empty", "c: missing image"):
        assert text in err
    assert not (tmp_path / "out").exists()

    status, out, _ = prepare(source, "--skip-bad")
    assert status == 0
    assert "left out: 2 images, 1 object\n" in out
    assert (tmp_path / "out/annotations/left_out.txt").read_text().splitlines() == [
        "image\tc\tmissing image: no PNG file in images/",
        "image\ta/masks/2.png\tdamaged: cut short",
        "object\tb/masks/2.png\tthe mask is empty",
    ]
    train = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [image["file_name"] for image in train["images"]] == ["b.png"]
    assert len(train["annotations"]) == 1


def test_many_problems_are_counted_and_the_first_shown(tmp_path):
    files = {f"{i:02}/images/x.png": png(NOISE) for i in range(30)}
    problems = ProblemLog()
    list(Dsb2018Reader(write_source(tmp_path, files, "zip"), problems).read(workers=0))
    with pytest.raises(DataError, match=r"30 problems[^$]*  19: no masks[^$]*and 10 more"):
        problems.raise_unless_skipped("source.zip")


def test_nothing_left(tmp_path, prepare):
    files = {name: data for name, data in good_files().items() if "/masks/" not in name}
    status, _, err = prepare(write_source(tmp_path, files, "zip"), "--skip-bad")
    assert status == 2 and "no image is left" in err
    assert not (tmp_path / "out").exists()


def test_a_list_names_what_the_source_lacks(tmp_path, prepare):
    source = write_source(tmp_path, good_files("abcd"), "zip")
    status, _, err = prepare(source)
    assert status == 2 and "lacks 2 of the images" in err and "e, f" in err
    assert "--skip-bad" in err and "--make-splits" in err
    status, out, _ = prepare(source, "--skip-bad")
    assert status == 0 and "left out: 2 images" in out


def test_make_splits(tmp_path, capsys):
    source = write_source(tmp_path, good_files("abcdefghij"), "zip")
    argv = ("--source", source, "--output", tmp_path / "out", "--split-dir", tmp_path / "new")
    assert run_tool(capsys, *argv, "--make-splits", "--seed", 3)[0] == 0
    lists = {path.name: path.read_text().split() for path in (tmp_path / "new").iterdir()}
    assert {name: len(ids) for name, ids in lists.items()} == {
        "train.txt": 5,
        "val.txt": 2,
        "test.txt": 3,
    }
    first = (tmp_path / "out/annotations/instances_val.json").read_bytes()
    assert run_tool(capsys, *argv)[0] == 0
    assert (tmp_path / "out/annotations/instances_val.json").read_bytes() == first


@pytest.mark.parametrize(
    "argv", [[], ["--source", "x", "--make-splits"], ["--source", "x", "--seed", "1"]]
)
def test_impossible_arguments(capsys, argv):
    status, _, err = run_tool(capsys, *argv)
    assert status == 2 and "usage:" in err


def test_download(tmp_path, capsys, monkeypatch):
    (tmp_path / "web").mkdir()
    there = write_source(tmp_path / "web", good_files(), "zip")
    monkeypatch.setattr(prepare_dsb2018, "URL", there.as_uri())
    target = tmp_path / "data" / "stage1_train.zip"
    argv = ["--download", "--source", target, "--output", tmp_path / "out"]
    argv += ["--make-splits", "--split-dir", tmp_path / "splits"]
    assert run_tool(capsys, *argv)[0] == 0
    assert target.read_bytes() == there.read_bytes()
    there.unlink()
    assert run_tool(capsys, *argv)[0] == 0  # what is there is not fetched again
    target.unlink()
    status, _, err = run_tool(capsys, *argv)
    assert status == 2 and "online" in err and "--source" in err
    assert not list((tmp_path / "data").iterdir())


def test_synthetic_tool(tmp_path, capsys):
    argv = "--train 3 --val 2 --test 1 --size 48 64 --count 0 6 --seed 4 --output".split()
    prepare_synthetic.main([*argv, str(tmp_path / "one")])
    out = capsys.readouterr().out
    assert "synthetic_nuclei_train" in out and "| all     |        6 |" in out
    val = COCO(tmp_path / "one/annotations/instances_val.json")
    assert [image["file_name"] for image in val.dataset["images"]] == [
        "val_0000.png",
        "val_0001.png",
    ]
    image = Image.open(tmp_path / "one/images/val_0000.png")
    assert (image.size, image.mode) == ((64, 48), "L")
    prepare_synthetic.main([*argv, str(tmp_path / "two")])
    for path in (tmp_path / "one").rglob("*.*"):
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes()


@pytest.mark.parametrize(
    "argv",
    ["--train -1", "--count 5 2", "--size 0 8", "--seed -1", "--train 0 --val 0 --test 0", "--x"],
)
def test_synthetic_tool_refuses_impossible_arguments(capsys, argv):
    with pytest.raises(SystemExit) as error:
        prepare_synthetic.main(argv.split())
    assert error.value.code == 2 and "usage:" in capsys.readouterr().err


REAL = os.environ.get("MASKRCNNPP_DSB2018")


@pytest.mark.skipif(not REAL, reason="MASKRCNNPP_DSB2018 does not name a stage1_train.zip")
def test_the_real_archive(tmp_path, capsys):
    status, out, _ = run_tool(capsys, "--source", REAL, "--output", tmp_path / "out")
    assert status == 0
    counts = {}
    for split in ("train", "val", "test"):
        coco = COCO(tmp_path / "out" / "annotations" / f"instances_{split}.json")
        counts[split] = len(coco.imgs)
        counts["objects"] = counts.get("objects", 0) + len(coco.anns)
        for annotation in coco.anns.values():
            rle = annotation["segmentation"]
            image = coco.imgs[annotation["image_id"]]
            assert rle["size"] == [image["height"], image["width"]]
            assert annotation["area"] > 0
    assert counts == {"train": 332, "val": 133, "test": 199, "objects": 28986}
    assert len(list((tmp_path / "out" / "images").iterdir())) == 664

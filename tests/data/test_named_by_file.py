"""Data sets that are named by their files."""

import json
import re
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from maskrcnnpp.check.validation.checks import validate
from maskrcnnpp.coco.loadable import missing_files
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.synthetic import synthetic_samples
from maskrcnnpp.data.named_by_file import folder_name, known_classes, register_file
from maskrcnnpp.engine.setup import check_datasets
from maskrcnnpp.errors import ConfigError, DataError

QUICK = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"
NAMES = ("a.png", "b.png", "c.png")
RUNS = {"size": [64, 64]}
INF = float("inf")


@pytest.fixture
def folder(tmp_path):
    with CocoDatasetWriter(tmp_path / "my set", info={}) as writer:
        for sample in synthetic_samples(2, height=64, width=64, count=(3, 4)):
            writer.add(sample)
        writer.commit({"train": list(writer.records)})
    return tmp_path / "my set"


def truth_of(names=NAMES):
    square = [10, 10, 20, 10, 20, 20, 10, 20]
    return {
        "images": [
            {"id": k, "file_name": name, "height": 64, "width": 64} for k, name in enumerate(names)
        ],
        "categories": [{"id": 9, "name": "cell"}, {"id": 4, "name": "nucleus"}],
        "annotations": [
            {
                **{"id": k, "image_id": k, "category_id": 4, "iscrowd": 0},
                **{"bbox": [10, 10, 10, 10], "area": 100, "segmentation": [square]},
            }
            for k in range(len(names))
        ],
    }


def write(path, truth):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(truth))
    return path


def touch(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("L", (9, 9)).save(folder / name, "PNG")


def test_a_file_and_its_images(folder):
    file = folder / "annotations" / "instances_train.json"
    for name in (str(file), f"{file}:{folder / 'images'}"):
        assert register_file(name) and register_file(name)
        found = DatasetCatalog.get(name)
        assert len(found) == 2 and len(found[0]["annotations"]) >= 3
        metadata = MetadataCatalog.get(name)
        assert metadata.thing_classes == ["nucleus"] and metadata.mask_format == "bitmask"
    assert not register_file("coco_2017_train")


def test_results_of_each_file_have_a_folder_of_their_own():
    deep = "/".join(["d" * 100] * 4 + ["ü" * 300])
    names = [
        "my a.json",
        "my_a.json",
        "x/my a.json",
        "my a.json:images",
        f"{deep}.json",
    ]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(re.fullmatch("my_a_[0-9a-f]{8}", found) for found in folders[:4])
    assert len(folders[4].encode()) < 255
    assert folder_name("coco_2017_train") == "coco_2017_train"


def test_files_that_are_not_there(folder, tmp_path):
    file = folder / "annotations" / "instances_train.json"
    with pytest.raises(DataError, match="nowhere.json: cannot be read as a COCO") as caught:
        register_file("nowhere.json")
    assert "maskrcnnpp check" not in str(caught.value)  # which could not read it either
    with pytest.raises(DataError, match="File name too long"):
        register_file(f"{'d' * 300}.json")
    with pytest.raises(DataError, match="nowhere is not a folder; name that of the images"):
        register_file(f"{file}:nowhere")
    with pytest.raises(DataError, match=f"of 2 images, 2 are not in {tmp_path}: .*.json:FOLDER"):
        register_file(f"{file}:{tmp_path}")


def test_the_folder_is_that_of_most_images_though_the_first_is_missing(tmp_path):
    file = write(tmp_path / "annotations" / "truth.json", truth_of(["no.png", "a.png", "b.png"]))
    touch(tmp_path / "images", ["a.png", "b.png"])
    with pytest.raises(DataError) as caught:
        register_file(str(file))
    message = str(caught.value)
    assert f"of 3 images, 1 are not in {tmp_path}/images: no.png; name" in message


def test_all_images_are_looked_for(tmp_path):
    names = [f"{k}.png" for k in range(6)]
    file = write(tmp_path / "a b" / "truth.json", truth_of(names))
    touch(tmp_path / "images", names[:1])
    with pytest.raises(DataError) as caught:
        register_file(str(file))
    message = str(caught.value)
    assert f"of 6 images, 5 are not in {tmp_path / 'images'}: 1.png, 2.png, 3.png, ...;" in message
    assert f"maskrcnnpp check '{file}' --images {tmp_path / 'images'}" in message
    touch(tmp_path / "images", names)
    assert register_file(str(file))


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("sub/images", NAMES),
        ("images", NAMES),
        ("sub", NAMES),
        (".", NAMES),
        ("sub", ("images/a.tif", "images/b.tif")),
        (".", ("images/a.tif", "images/b.tif")),
    ],
)
def test_images_are_found_by_where_they_are(tmp_path, monkeypatch, place, names):
    write(tmp_path / "sub" / "truth.json", truth_of(names))
    (tmp_path / "sub" / "images").mkdir(exist_ok=True)  # one that has none of them
    for name in names:
        touch((tmp_path / place / name).parent, [Path(name).name])
    for start, file in ((".", "sub/truth.json"), ("sub", "truth.json")):
        monkeypatch.chdir(tmp_path / start)
        assert register_file(file)
        root = MetadataCatalog.get(file).image_root
        assert Path(root).resolve() == (tmp_path / place).resolve()
        DatasetCatalog.remove(file)
        MetadataCatalog.remove(file)


def test_images_that_are_nowhere(tmp_path):
    file = write(tmp_path / "sub" / "truth.json", truth_of())
    with pytest.raises(DataError, match=r"3 are not in .*sub/images: a.png.*nor in "):
        register_file(str(file))


def test_missing_files_in_several_folders(tmp_path):
    touch(tmp_path / "one", ["a.png"])
    (tmp_path / "one" / "folder.png").mkdir()
    wanted = ["one/a.png", "one/b.png", "two/a.png", "one/folder.png", "one/../one/a.png"]
    assert missing_files(tmp_path, wanted) == ["one/b.png", "two/a.png", "one/folder.png"]


def edited(path, value):
    """The truth with one entry replaced, or left out where the value is None."""
    truth = truth_of()
    *parents, last = path
    entry = truth
    for key in parents:
        entry = entry[key]
    if value is LEFT_OUT:
        del entry[last]
    else:
        entry[last] = value
    return truth


LEFT_OUT = object()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("images",), None, "'images' is not a list"),
        (("images",), [], "'images' is empty"),
        (("categories",), [], "'categories' is empty"),
        (("annotations",), None, "'annotations' is not a list"),
        (("images", 1, "id"), 0, "image ids are there more than once: 0"),
        (("images", 1, "id"), "b", "image number 1 has the id 'b'"),
        (("images", 1, "file_name"), 5, "image 1: file_name is 5"),
        (("images", 1, "file_name"), LEFT_OUT, "image 1: file_name is None"),
        (("images", 1, "height"), None, "image 1: no height"),
        (("categories", 1, "id"), 9, "category ids are there more than once: 9"),
        (("categories", 1, "id"), "4", "category number 1 has the id '4'"),
        (("annotations", 1, "id"), 2, "annotation ids are there more than once: 2"),
        (("annotations", 1, "id"), LEFT_OUT, "annotation number 1 has the id None"),
        (("annotations", 1, "category_id"), 5, "annotation 1: category_id is 5"),
        (("annotations", 1, "category_id"), "4", "annotation 1: category_id is '4'"),
        (("annotations", 1, "image_id"), 7, "annotation 1: image_id is 7"),
        (("annotations", 1, "image_id"), [1], "annotation 1: image_id is "),
        (("annotations", 1, "bbox"), [1, 2, 3], "annotation 1: bbox is "),
        (("annotations", 1, "bbox"), [1, 2, 3, float("nan")], "annotation 1: bbox is "),
        (("annotations", 1, "area"), "100", "annotation 1: area is '100'"),
        (("annotations", 1, "ignore"), 1, "annotation 1: it has 'ignore'"),
        (("annotations", 1, "segmentation"), [1, 2, 3, 4, 5, 6], "annotation 1: segmentation is "),
        (("annotations", 1, "segmentation"), {"counts": "x"}, "of b.png: RLE without its size"),
        (("annotations", 1, "segmentation"), [[10, 10, 10, 10]], "polygon: 2 points; at least 3"),
        (("annotations", 1, "segmentation"), [[10, 10, 20, 20, 9]], "polygon: an odd number of"),
        (("annotations", 1, "segmentation"), RUNS | {"counts": 5}, "RLE without counts"),
        (("annotations", 1, "segmentation"), RUNS | {"counts": [0, -1, 4097]}, "no whole numbers"),
        (("annotations", 1, "segmentation"), RUNS | {"counts": [0, 2**32]}, "no whole numbers"),
        (("annotations", 1, "segmentation"), RUNS | {"counts": [0, INF]}, "no whole numbers"),
        (("annotations", 1, "segmentation"), RUNS | {"counts": [9, 9]}, "end 4078 pixels before"),
        (("annotations", 1, "segmentation"), RUNS | {"size": [8, 8], "counts": "9"}, "8x8 pixels"),
        (("annotations", 1, "bbox"), [10, 10, 20, 20], "it has the corners, x0 y0 x1 y1, not the"),
        (("annotations", 1, "bbox"), [15, 15, 10, 10], "by far: x, y, width and height in pix"),
        (("annotations", 1, "bbox"), [0.2, 0.2, 0.1, 0.1], "by far: x, y, width and height"),
    ],
)
def test_what_cannot_be_loaded_is_said_at_once(tmp_path, path, value, words):
    touch(tmp_path)
    file = write(tmp_path / "truth.json", edited(path, value))
    with pytest.raises(DataError) as caught:
        register_file(str(file))
    assert str(caught.value).startswith(f"{file}: ") and words in str(caught.value)
    found = validate(
        json.loads(file.read_text()), None
    )  # what a training refuses is an error there
    assert any(finding.severity == "error" for finding in found)
    assert str(caught.value).endswith(f"maskrcnnpp check {file} --images {tmp_path}")
    assert str(file) not in DatasetCatalog


def test_other_files_are_no_coco(tmp_path):
    with pytest.raises(DataError, match="not a COCO annotation file"):
        register_file(str(write(tmp_path / "a.json", [])))


def test_annotation_ids_may_be_texts(tmp_path):
    touch(tmp_path)
    file = write(tmp_path / "truth.json", edited(("annotations", 1, "id"), "1b"))
    assert register_file(str(file)) and len(DatasetCatalog.get(str(file))) == 3


def test_what_detectron2_cannot_load_is_a_data_error(tmp_path):
    touch(tmp_path)
    file = write(tmp_path / "truth.json", truth_of())
    assert register_file(str(file))
    write(file, edited(("annotations", 1, "id"), 2))  # changed since
    with pytest.raises(
        DataError, match="AssertionError: Annotation ids .*\n.*\n.*maskrcnnpp check"
    ):
        DatasetCatalog.get(str(file))


def test_ids_of_categories_are_known_before_the_data_is_loaded(tmp_path):
    touch(tmp_path)
    file = str(write(tmp_path / "truth.json", truth_of()))
    for _ in range(2):
        classes = known_classes(file)
        assert classes["thing_classes"] == ["nucleus", "cell"]
        assert classes["thing_dataset_id_to_contiguous_id"] == {4: 0, 9: 1}
        register_file(file)
    assert len(DatasetCatalog.get(file)) == 3  # the same numbers as Detectron2's
    assert known_classes("nobodys_data") == {} and "nobodys_data" not in MetadataCatalog.list()


def words_for(train, test, **others):
    opts = {"DATASETS.TRAIN": f"('{train}',)", "DATASETS.TEST": f"('{test}',)", **others}
    return [word for pair in opts.items() for word in pair]


def test_a_config_that_names_files(folder):
    file = folder / "annotations" / "instances_train.json"
    words = words_for(file, file)
    check_datasets(build_config(QUICK, words))
    with pytest.raises(ConfigError, match="named by its files: annotations.json:folder"):
        check_datasets(build_config(QUICK, ["DATASETS.TEST", "('mine',)"]), eval_only=True)
    polygons = [*words, "INPUT.MASK_FORMAT", "polygon"]
    with pytest.raises(ConfigError, match="run-length encoded: set it to"):
        check_datasets(build_config(QUICK, polygons))
    with pytest.raises(ConfigError, match="MODEL.KEYPOINT_ON is True, and .* no keypoint_names"):
        check_datasets(build_config(QUICK, [*words, "MODEL.KEYPOINT_ON", "True"]))
    truth = json.loads(file.read_text())
    truth["categories"].append({"id": 2, "name": "cell"})
    (folder / "two.json").write_text(json.dumps(truth))
    two = ["DATASETS.TEST", f"('{folder / 'two.json'}',)"]
    with pytest.raises(ConfigError, match="NUM_CLASSES is 1, but .* has 2 classes: nucleus, cell"):
        check_datasets(build_config(QUICK, two), eval_only=True)


def check(train, test, **others):
    words = words_for(train, test, **{"MODEL.ROI_HEADS.NUM_CLASSES": "2"}, **others)
    check_datasets(build_config(QUICK, words))


def test_a_file_without_objects_can_be_tested_on_only(tmp_path):
    touch(tmp_path)
    good = write(tmp_path / "good.json", truth_of())
    crowds = truth_of()["annotations"]
    for name, annotations, words in (
        ("none", [], "there is no annotation"), ("crowds", crowds, "all 3 are iscrowd, so that"),
    ):  # fmt: skip
        for entry in annotations:
            entry["iscrowd"] = 1
        empty = write(tmp_path / f"{name}.json", {**truth_of(), "annotations": annotations})
        check(good, empty)
        with pytest.raises(
            DataError,
            match=f"{name}.json: no object to train on: {words}.*\n.*\n.*maskrcnnpp check",
        ):
            check(empty, good)
        check(empty, good, **{"DATALOADER.FILTER_EMPTY_ANNOTATIONS": "False"})


def test_a_file_without_masks(tmp_path):
    touch(tmp_path)
    good = write(tmp_path / "good.json", truth_of())
    some = write(tmp_path / "some.json", edited(("annotations", 1, "segmentation"), None))
    boxes = truth_of()
    for entry in boxes["annotations"]:
        del entry["segmentation"]
    boxes = write(tmp_path / "boxes.json", boxes)
    for train, test in ((boxes, good), (some, good), (good, some)):
        with pytest.raises(DataError, match="without segmentation, which the model"):
            check(train, test)
        check(train, test, **{"MODEL.MASK_ON": "False"})
    check(good, boxes)


def test_a_byte_order_mark(tmp_path):
    touch(tmp_path)
    file = tmp_path / "truth.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(truth_of()).encode())
    assert register_file(str(file))
    records = DatasetCatalog.get(str(file))
    assert [len(record["annotations"]) for record in records] == [1, 1, 1]
    assert Path(records[0]["file_name"]) == tmp_path / "a.png"


def test_lists_in_lists(tmp_path):
    file = tmp_path / "deep.json"
    file.write_text("[" * 10_000)
    with pytest.raises(DataError, match="deep.json: cannot be read as a COCO annotation file"):
        register_file(str(file))

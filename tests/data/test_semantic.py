import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image
from pycocotools import mask as coco_mask
from semantic_config import head, unet_cfg

from maskrcnnpp.data.fingerprint import data_fingerprint
from maskrcnnpp.data.mapper import SemanticMapper, find_mapper
from maskrcnnpp.data.named_by_file import register_file
from maskrcnnpp.data.semantic import check_labels_agree, check_labels_fit, read_labels
from maskrcnnpp.engine.setup import check_datasets
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.modeling.sem_seg_head import check_classes

LABELS = np.zeros((40, 64), np.uint8)
LABELS[5:20, 10:30] = 1
LABELS[10:15, 12:20] = 2
LABELS[30:, :5] = 255


@pytest.fixture
def semantic_set(tmp_path):
    """``semantic_set(labels=..., **changes)``: path of the file of a data set of one image."""
    names = []

    def make(labels=LABELS, mode=None, categories=(1, 2), **changes):
        for folder in ("images", "labels", "annotations"):
            (tmp_path / folder).mkdir(exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, LABELS.shape, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
        picture = Image.fromarray(labels)
        if mode == "P":
            picture = picture.convert("L")
            picture.putpalette([255 - k for k in range(256) for _ in range(3)])
        elif mode:
            picture = picture.convert(mode)
        picture.save(tmp_path / "labels" / "a.png")
        image = {"id": 1, "file_name": "a.png", "height": 40, "width": 64}
        image |= {"sem_seg_file_name": "../labels/a.png", **changes}
        image = {key: value for key, value in image.items() if value is not None}
        classes = [{"id": k, "name": f"class {k}"} for k in categories]
        file = tmp_path / "annotations" / f"semantic_{len(names)}.json"
        file.write_text(json.dumps({"images": [image], "categories": classes}))
        names.append(str(file))
        return names[-1]

    yield make
    for name in names:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


@pytest.mark.parametrize("mode", [None, "P"])
def test_a_data_set_of_label_images_is_named_by_its_file(semantic_set, mode):
    name = semantic_set(mode=mode)
    assert register_file(name)
    (record,) = DatasetCatalog.get(name)
    assert "annotations" not in record
    np.testing.assert_array_equal(read_labels(record), LABELS)
    assert MetadataCatalog.get(name).thing_classes == ["class 1", "class 2"]


def test_labels_that_are_not_listed_are_told(semantic_set):
    labels = LABELS.copy()
    labels[0, 0] = 3
    name = semantic_set(labels)
    register_file(name)
    with pytest.raises(DataError, match=r"a\.png has the labels 3; its data set lists 0 to 2"):
        read_labels(DatasetCatalog.get(name)[0])


@pytest.mark.parametrize(
    ("labels", "mode", "words"),
    [
        (LABELS[:-1], None, "39x64 pixels, its image"),
        (np.stack([LABELS] * 3, axis=-1), None, "mode RGB"),
        (LABELS.astype(np.uint16), None, "mode I;16"),
    ],
)
def test_label_images_that_cannot_be_used_are_told(semantic_set, labels, mode, words):
    name = semantic_set(labels, mode)
    register_file(name)
    with pytest.raises(DataError, match=words):
        read_labels(DatasetCatalog.get(name)[0])


def test_a_broken_label_image_is_told(semantic_set):
    name = semantic_set()
    register_file(name)
    (record,) = DatasetCatalog.get(name)
    with open(record["sem_seg_file_name"], "r+b") as file:
        file.truncate(60)
    with pytest.raises(DataError, match="cannot be read as a label image"):
        read_labels(record)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"categories": (0, 1)}, "ids 1, 2"),
        ({"categories": (1, 3)}, "ids 1, 2"),
        ({"sem_seg_file_name": "../labels/b.png"}, "does not exist"),
    ],
)
def test_files_that_cannot_be_used_are_told(semantic_set, arguments, words):
    with pytest.raises(DataError, match=words):
        register_file(semantic_set(**arguments))


def test_objects_become_foreground():
    squares = np.zeros((2, 30, 20), np.uint8)
    squares[0, 2:10, 2:10] = squares[1, 5:15, 5:15] = 1
    rles = [coco_mask.encode(np.asfortranarray(x)) for x in squares]
    record = {"file_name": "a.png", "height": 30, "width": 20}
    record["annotations"] = [
        {"segmentation": rles[0], "category_id": 0},
        {"segmentation": rles[1], "category_id": 4},
        {"segmentation": [[0.0, 20.0, 6.0, 20.0, 6.0, 28.0, 0.0, 28.0]], "category_id": 1},
        {"segmentation": {"size": [30, 20], "counts": [570, 30]}, "category_id": 0, "iscrowd": 1},
    ]
    labels = read_labels(record)
    assert labels.dtype == np.uint8
    assert labels[3, 3] == 1 and labels[6, 6] == 5 and labels[24, 3] == 2
    assert (labels == 255).sum() == 30 and (labels == 5).sum() == 100
    assert not read_labels({**record, "annotations": []}).any()
    crowd = {"segmentation": {"size": [30, 20], "counts": [0, 600]}, "iscrowd": 1}
    covered = read_labels({**record, "annotations": [*record["annotations"], crowd]})
    np.testing.assert_array_equal(covered, np.where(labels == 0, 255, labels))
    del record["annotations"][0]["segmentation"]
    with pytest.raises(DataError, match="a.png: an annotation has no segmentation"):
        read_labels(record)


def test_the_mapper_moves_labels_along_with_the_image(semantic_set):
    name = semantic_set()
    register_file(name)
    cfg = unet_cfg("INPUT.CROP.SIZE", [32, 32], "INPUT.AUGMENT.ROT90", True)
    (record,) = DatasetCatalog.get(name)
    image = np.array(Image.open(record["file_name"])).astype(int)
    mapper = find_mapper(cfg, True)
    assert isinstance(mapper, SemanticMapper)
    for _ in range(5):
        found = mapper(record)
        assert found["image"].shape == (1, 32, 32) and found["sem_seg"].shape == (32, 32)
        assert "annotations" not in found and "instances" not in found
        # each crop is somewhere in the image, with the labels of that place
        pairs = {(a, b) for a, b in zip(image.ravel(), LABELS.ravel())}
        crop = found["image"][0].long().flatten().tolist(), found["sem_seg"].flatten().tolist()
        assert set(zip(*crop)) <= pairs
    assert "sem_seg" not in find_mapper(cfg, False)(record)


@pytest.mark.parametrize(
    ("opts", "fits"),
    [
        ((head("NUM_CLASSES"), 2), True),
        ((head("NUM_CLASSES"), 1), False),
        ((head("NUM_CLASSES"), 3, head("ACTIVATION"), "softmax"), True),
        ((head("NUM_CLASSES"), 2, head("ACTIVATION"), "softmax"), False),
        ((head("NUM_CLASSES"), 1, head("REGIONS"), [[1, 2]]), True),
        ((head("NUM_CLASSES"), 1, head("REGIONS"), [[3]]), False),
    ],
)
def test_classes_of_head_and_data_have_to_fit(semantic_set, opts, fits):
    name = semantic_set()
    register_file(name)
    if fits:
        check_labels_fit(unet_cfg(*opts), name, "DATASETS.TRAIN")
        return
    with pytest.raises(ConfigError, match="MODEL.SEM_SEG_HEAD.*DATASETS.TRAIN"):
        check_labels_fit(unet_cfg(*opts), name, "DATASETS.TRAIN")


def test_a_label_stands_for_the_same_class_everywhere(semantic_set):
    names = [semantic_set(), semantic_set()]
    file = Path(names[1])
    file.write_text(file.read_text().replace("class 1", "liver"))
    for name in names:
        register_file(name)
    check_labels_agree([names[0], names[0]])
    with pytest.raises(ConfigError, match=r"class 1, class 2 in .*; liver, class 2 in "):
        check_labels_agree(names)


@pytest.fixture
def stuff():
    """A set that Detectron2's own heads are made for: label 0 is a class."""
    name = "semantic_stuff_test"
    MetadataCatalog.get(name).set(evaluator_type="sem_seg", stuff_classes=["road", "car"])
    yield name
    MetadataCatalog.remove(name)


def test_sets_without_background_are_refused(stuff):
    with pytest.raises(ConfigError, match="of DATASETS.TRAIN is registered with stuff_classes"):
        check_labels_fit(unet_cfg(), stuff, "DATASETS.TRAIN")


def test_stock_heads_find_their_metadata_and_have_to_fit(semantic_set):
    name = semantic_set()
    register_file(name)
    assert MetadataCatalog.get(name).stuff_classes == ["background", "class 1", "class 2"]
    SemSegEvaluator(name)
    cfg = unet_cfg(head("NAME"), "SemSegFPNHead", head("NUM_CLASSES"), 2)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    with pytest.raises(ConfigError, match="has 3 with the background"):
        check_datasets(cfg)


@pytest.mark.parametrize("value", [300, -1, 1, "255"])
def test_the_ignored_label_is_none_of_a_class(value):
    cfg = unet_cfg()
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = value
    with pytest.raises(ConfigError, match=f"IGNORE_VALUE is {value}"):
        check_classes(cfg)


def test_labels_that_the_head_does_not_know_are_told(semantic_set):
    name = semantic_set()
    register_file(name)
    (record,) = DatasetCatalog.get(name)
    del record["sem_seg_classes"]  # as of a set that someone else registered
    with pytest.raises(DataError, match="has the labels 2"):
        find_mapper(unet_cfg("INPUT.CROP.ENABLED", False), True)(record)
    regions = unet_cfg("INPUT.CROP.ENABLED", False, head("REGIONS"), [[1]])
    assert 2 in find_mapper(regions, True)(record)["sem_seg"]


def test_what_a_rotation_brings_in_does_not_count(semantic_set):
    name = semantic_set(np.ones_like(LABELS))
    register_file(name)
    (record,) = DatasetCatalog.get(name)
    cfg = unet_cfg("INPUT.CROP.ENABLED", False, "INPUT.AUGMENT.ROTATION", 30.0)
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 9
    mapper = find_mapper(cfg, True)
    found = torch.stack([mapper(record)["sem_seg"] for _ in range(5)])
    assert set(found.unique().tolist()) == {1, 9}


def test_other_labels_are_other_data(semantic_set):
    name = semantic_set()
    register_file(name)
    first = data_fingerprint([name])
    Image.fromarray(np.random.default_rng(0).integers(0, 3, (40, 64), np.uint8)).save(
        DatasetCatalog.get(name)[0]["sem_seg_file_name"]
    )
    assert data_fingerprint([name]) != first


def test_regions_overlap():
    from detectron2.modeling import build_model

    cfg = unet_cfg(head("NUM_CLASSES"), 2, head("REGIONS"), [[1, 2, 4], [4]])
    members = build_model(cfg).sem_seg_head._members
    assert torch.equal(
        members[:, [0, 1, 2, 3, 4]], torch.tensor([[0.0, 1, 1, 0, 1], [0, 0, 0, 0, 1]])
    )

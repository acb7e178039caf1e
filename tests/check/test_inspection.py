"""What is in a data set: numbers held against independent ones, files, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import yaml
from detectron2.data import DatasetCatalog
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy.ndimage import binary_dilation

from maskrcnnpp import cli
from maskrcnnpp.check.inspection.measures import measure_objects, shape_of
from maskrcnnpp.check.inspection.numbers import inspect_dataset
from maskrcnnpp.check.inspection.page import page_text, write_inspection
from maskrcnnpp.check.inspection.reading import CocoSet
from maskrcnnpp.check.inspection.settings import settings_yaml, suggest_settings
from maskrcnnpp.check.inspection.statistics import choose_samples, cluster, distribution
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.synthetic import synthetic_samples
from maskrcnnpp.data.input_checks import check_input
from maskrcnnpp.data.named_by_file import register_file
from maskrcnnpp.engine.setup import check_area_bins
from maskrcnnpp.errors import DataError
from maskrcnnpp.images.display import as_rgb
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.parse import checked_rle

ROOT = Path(__file__).parents[2]
FAST = "configs/cpu/maskrcnnpp_lite0_fast.yaml"
FILES = {"inspection.json", "report.md", "report.html", "settings.yaml", "samples.png"}
FILES.add("histograms.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Six pictures of 64x64 with 2 to 6 nuclei. Not to be changed."""
    folder = tmp_path_factory.mktemp("nuclei")
    with CocoDatasetWriter(folder, info={}) as writer:
        for sample in synthetic_samples(6, height=64, width=64, count=(2, 6), seed=3):
            writer.add(sample)
        writer.commit({"train": list(writer.records)})
    return folder


def annotations_of(folder: Path) -> Path:
    return folder / "annotations" / "instances_train.json"


@pytest.fixture
def coco(made):
    """The annotations as a dict, and a function that makes a set of a changed one."""
    return json.loads(annotations_of(made).read_text())


@pytest.fixture
def as_set(tmp_path, made):
    def make(truth: dict, folder: Path = made / "images") -> CocoSet:
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(truth))
        return CocoSet(path, folder)

    return make


def inspect(data: CocoSet) -> dict:
    return inspect_dataset(data, progress=False)


def full_masks(truth: dict) -> dict[int, list[np.ndarray]]:
    """Decoded by pycocotools, by image id."""
    masks: dict[int, list[np.ndarray]] = {image["id"]: [] for image in truth["images"]}
    for entry in truth["annotations"]:
        masks[entry["image_id"]].append(coco_mask.decode(entry["segmentation"]).astype(bool))
    return masks


def rle(mask: np.ndarray) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def coco_of(masks: list[np.ndarray], file_name: str = "a.png", **changes) -> dict:
    """One image with these objects."""
    height, width = masks[0].shape
    annotations = []
    for number, mask in enumerate(masks, start=1):
        entry = {"id": number, "image_id": 1, "category_id": 1, "segmentation": rle(mask)}
        box, area = coco_mask.toBbox(entry["segmentation"]).tolist(), int(mask.sum())
        annotations.append({**entry, "bbox": box, "area": area, "iscrowd": 0})
    image = {"id": 1, "file_name": file_name, "height": height, "width": width}
    categories = [{"id": 1, "name": "nucleus"}]
    truth = {"images": [image], "categories": categories, "annotations": annotations}
    return {**truth, **changes}


def square(top: int, left: int, side: int, shape=(64, 64)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def crop_of(mask: np.ndarray) -> Crop:
    return Crop.of_rle(rle(mask))


# masks


@settings(max_examples=60, derandomize=True)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1), st.floats(0.02, 1))
def test_masks_are_those_of_pycocotools(height, width, seed, part):
    mask = np.random.default_rng(seed).random((height, width)) < part
    mask[seed % height, seed % width] = True
    compressed = rle(mask)
    # by hand: runs down the columns, background first
    line = np.concatenate(([False], mask.T.ravel()))
    edges = np.append(np.flatnonzero(line[1:] != line[:-1]), mask.size)
    listed = {"size": [height, width], "counts": np.diff(edges, prepend=0).tolist()}
    for segmentation in (compressed, listed):
        crop = Crop.of_rle(checked_rle(segmentation, height, width))
        rows, columns = crop.pixels.shape
        full = np.zeros_like(mask)
        full[crop.top : crop.top + rows, crop.left : crop.left + columns] = crop.pixels
        assert (full == mask).all()
        assert crop.pixels.any(axis=1)[[0, -1]].all() and crop.pixels.any(axis=0)[[0, -1]].all()


def test_long_runs_keep_their_length():
    mask = square(1500, 900, 900, (4000, 3000))
    crop = crop_of(mask)
    assert (crop.top, crop.left, crop.pixels.shape) == (1500, 900, (900, 900))
    assert crop.pixels.all()


def test_polygons_are_filled_as_pycocotools_does():
    polygons = [[3, 4, 20, 6, 12, 30.5], [40, 40, 50, 40, 50, 55, 40, 55]]
    crop = Crop.of_rle(checked_rle(polygons, 64, 64))
    full = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 64, 64)))
    rows, columns = crop.pixels.shape
    assert crop.pixels.sum() == full.sum()
    assert (full[crop.top : crop.top + rows, crop.left : crop.left + columns] == crop.pixels).all()


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "no segmentation"),
        ({"size": [8, 9], "counts": rle(square(1, 1, 3, (8, 9)))["counts"]}, "9x8 pixels"),
        ({"size": [8, 8], "counts": "o"}, "damaged"),
        ({"size": [8, 8], "counts": [64]}, "no pixel"),
        ([[9, 9, 12, 9, 12, 12]], "no pixel inside the image"),
    ],
)
def test_a_bad_mask_says_what_is_wrong(segmentation, reason):
    with pytest.raises(DataError, match=reason):
        checked_rle(segmentation, 8, 8)


# objects


@pytest.mark.parametrize(
    ("second", "touching", "overlapping"),
    [
        (square(10, 16, 6), False, False),  # a column of background between them
        (square(10, 15, 6), True, False),  # side by side
        (square(15, 15, 6), True, False),  # corner to corner
        (square(15, 16, 6), False, False),
        (square(14, 14, 6), True, True),  # one pixel is of both
        (square(11, 11, 2), True, True),  # one inside the other
    ],
)
def test_objects_touch_where_neighbouring_pixels_do(second, touching, overlapping):
    first, alone = square(10, 10, 5), square(40, 40, 5)
    measured = measure_objects([crop_of(mask) for mask in (first, second, alone)], 64, 64)
    assert measured.touching.tolist() == [touching, touching, False]
    assert measured.overlapping.tolist() == [overlapping, overlapping, False]
    assert measured.covered == (first | second | alone).sum()


def test_an_object_at_the_border_is_cut():
    places = [(0, 20), (20, 0), (59, 20), (20, 59), (1, 40), (58, 58)]
    crops = [crop_of(square(top, left, 5)) for top, left in places]
    assert measure_objects(crops, 64, 64).cut.tolist() == [True] * 4 + [False] * 2


def test_no_objects_have_no_measures():
    measured = measure_objects([], 5, 6)
    assert measured.area.shape == measured.touching.shape == (0,) and measured.covered == 0


def test_shapes_are_those_of_a_disk_and_of_a_frame():
    y, x = np.mgrid[:64, :64]
    eccentricity, solidity = shape_of(crop_of((y - 32) ** 2 + (x - 32) ** 2 <= 20**2))
    assert eccentricity < 0.05 and solidity > 0.95
    eccentricity, _ = shape_of(crop_of(((y - 32) / 5) ** 2 + ((x - 32) / 25) ** 2 <= 1))
    assert eccentricity == pytest.approx(np.sqrt(1 - (5 / 25) ** 2), abs=0.01)
    frame = square(10, 10, 20) & ~square(12, 12, 16)
    assert shape_of(crop_of(frame))[1] == pytest.approx(frame.sum() / 400)


def test_numbers_are_those_of_an_independent_count(made, coco):
    numbers = inspect(CocoSet(annotations_of(made), made / "images"))
    masks = full_masks(coco)
    touching, overlapping, cut, covered = [], [], [], []
    for of_image in masks.values():
        for index, mask in enumerate(of_image):
            others = np.any([m for i, m in enumerate(of_image) if i != index], axis=0)
            touching.append((binary_dilation(mask, np.ones((3, 3))) & others).any())
            overlapping.append((mask & others).any())
            edge = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
            cut.append(edge.any())
        covered.append(np.any(of_image, axis=0).mean())
    objects, areas = numbers["objects"], np.array([e["area"] for e in coco["annotations"]])
    assert 0 < np.mean(touching) < 1 and np.mean(overlapping) > 0 and np.mean(cut) > 0
    assert objects["touching"] == pytest.approx(np.mean(touching), rel=1e-4)
    assert objects["overlapping"] == pytest.approx(np.mean(overlapping), rel=1e-4)
    assert objects["cut_by_border"] == pytest.approx(np.mean(cut), rel=1e-4)
    assert objects["number"] == len(areas) == objects["shapes_measured"]
    about = objects["distributions"]
    boxes = np.array([e["bbox"] for e in coco["annotations"]])[:, 2:]
    counts = [len(of_image) for of_image in masks.values()]
    for name, values in (
        ("an_image", counts),
        ("density", np.array(counts) / (64 * 64 / 1e6)),
        ("area_fraction", covered),
        ("area", areas),
        ("diameter", np.sqrt(4 * areas / np.pi)),
        ("box_size", np.sqrt(boxes.prod(axis=1))),
        ("box_long_side", boxes.max(axis=1)),
        ("box_short_side", boxes.min(axis=1)),
        ("aspect_ratio", boxes[:, 1] / boxes[:, 0]),
    ):
        said = [about[name][key] for key in ("min", "p5", "p50", "p95", "max", "mean")]
        expected = [*np.quantile(values, (0, 0.05, 0.5, 0.95, 1)), np.mean(values)]
        assert said == pytest.approx(expected, rel=1e-4), name
        assert sum(about[name]["histogram"]["counts"]) == len(values), name
    assert objects["area_terciles"] == pytest.approx(np.quantile(areas, (1 / 3, 2 / 3)), rel=1e-4)
    category = {"id": 1, "name": "nucleus", "objects": len(areas), "images": 6}
    assert numbers["categories"] == [category]


def test_the_mean_pixel_and_sizes_are_those_of_the_files(made):
    images = inspect(CocoSet(annotations_of(made), made / "images"))["images"]
    grey = np.array([cv2.imread(str(p), 0) for p in sorted((made / "images").iterdir())])
    assert images["mean"] == pytest.approx([grey.mean()] * 3, rel=1e-4)
    assert images["std"] == pytest.approx([grey.std()] * 3, rel=1e-4)
    assert images["sizes"] == [{"height": 64, "width": 64, "images": 6}]
    assert images["formats"] == [{"dtype": "uint8", "channels": "grey", "images": 6}]
    assert [(g["name"], g["images"]) for g in images["groups"]] == [("fluorescence", 6)]
    (row,) = images["intensity"]
    assert (row["min"], row["max"]) == (grey.min(), grey.max())
    assert row["p50"] == pytest.approx(np.percentile(grey, 50), abs=1)


def write_colour(folder: Path, name: str, red: int, suffix: str = ".png") -> str:
    folder.mkdir(exist_ok=True)
    pixels = np.full((64, 64, 3), (30, 20, red), dtype=np.uint8)  # OpenCV's order
    cv2.imwrite(str(folder / (name + suffix)), pixels)
    return name + suffix


def test_the_mean_is_in_the_order_red_green_blue(tmp_path, as_set):
    write_colour(tmp_path / "in", "a", red=200)
    images = inspect(as_set(coco_of([square(3, 3, 20)]), tmp_path / "in"))["images"]
    assert images["mean"] == [200, 20, 30] and images["with_colour"] == 1
    assert [row["channel"] for row in images["intensity"]] == ["R", "G", "B"]
    assert images["groups"][0]["name"] == "histology"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pixels", "channels"),
    [
        (np.arange(4096, dtype=np.uint16).reshape(64, 64) * 9, "grey"),
        (np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64), "grey"),
        (np.arange(4096 * 5, dtype=np.uint8).reshape(5, 64, 64), "5 channels"),
        (np.arange(4096 * 2, dtype=np.int16).reshape(2, 64, 64), "2 channels"),
    ],
)
def test_other_images_than_8_bit_are_described_with_keys_that_read_them(
    tmp_path, as_set, pixels, channels
):
    (tmp_path / "in").mkdir()
    axes = {"metadata": {"axes": "CYX"}, "ome": True} if pixels.ndim == 3 else {}
    tifffile.imwrite(tmp_path / "in" / "a.tif", pixels, photometric="minisblack", **axes)
    data = as_set(coco_of([square(3, 3, 20)], "a.tif"), tmp_path / "in")
    numbers = inspect(data)
    assert numbers["images"]["formats"] == [
        {"dtype": str(pixels.dtype), "channels": channels, "images": 1}
    ]
    rows = numbers["images"]["intensity"]
    assert len(rows) == (1 if pixels.ndim == 2 else len(pixels))
    assert max(row["max"] for row in rows) == pytest.approx(pixels.max())
    keys = {entry["key"]: entry["value"] for entry in numbers["settings"]}
    count = len(pixels) if pixels.ndim == 3 else 3
    assert keys.get("INPUT.CHANNELS") == (list(range(count)) if pixels.ndim == 3 else None)
    assert keys.get("INPUT.PERCENTILES") == (None if pixels.dtype == np.uint8 else [1.0, 99.8])
    assert len(numbers["images"]["mean"]) == len(numbers["images"]["std"]) == count
    own = count if "INPUT.CHANNELS" in keys else 0  # three channels have those of the config
    assert (keys.get("MODEL.PIXEL_MEAN", []), keys.get("MODEL.PIXEL_STD", [])) == (
        [127.0] * own,
        [128.0] * own,
    )
    assert numbers["images"]["groups"][0]["name"] == "intensity 1"
    write_inspection(tmp_path / "out", numbers, data)
    assert cv2.imread(str(tmp_path / "out" / "samples.png")).std() > 0
    check_input(build_config(str(tmp_path / "out" / "settings.yaml")))


def test_an_image_is_shown_without_its_alpha():
    pixels = np.zeros((4, 5, 4), dtype=np.uint8)
    pixels[..., :3] = (1, 2, 3)
    assert (as_rgb(pixels, True) == (1, 2, 3)).all()
    assert (as_rgb(pixels[..., [0, 3]], True) == 1).all()
    assert (as_rgb(pixels[..., :2], False) == (1, 2, 0)).all()


def test_colours_are_stretched_alike_and_other_channels_alone():
    ramp = np.linspace(0, 1000, 4096).reshape(64, 64, 1)
    dim, bright = np.round(ramp / 10).astype(np.uint16), np.round(ramp).astype(np.uint16)
    pixels = np.concatenate((dim, bright, bright), axis=2)
    assert as_rgb(pixels, True)[..., 0].max() < 40
    assert (as_rgb(pixels, True)[..., 1].min(), as_rgb(pixels, True)[..., 1].max()) == (0, 255)
    assert as_rgb(pixels, False)[..., 0].max() == 255
    flat = np.full((4, 4, 1), 500, dtype=np.uint16)
    assert (as_rgb(flat, True) == 0).all()


# statistics


@pytest.mark.parametrize("count", [2, 3, 4])
def test_clusters_apart_are_found(count):
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(count), 20))
    features = truth[:, None] * [100.0, 10.0] + rng.normal(size=(len(truth), 2)) * [3, 0.3]
    assert cluster(features, seed=0).tolist() == truth.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_one_cloud_is_one_cluster(seed):
    rng = np.random.default_rng(seed)
    assert not cluster(rng.normal(size=(80, 5)), seed=0).any()
    assert not cluster(rng.normal(size=(80, 1)) * np.ones((1, 5)), seed=0).any()
    assert not cluster(rng.random((80, 1)), seed=0).any()


@pytest.mark.parametrize("features", [np.ones((7, 5)), np.ones((1, 5)), np.eye(2)])
def test_too_few_or_equal_images_are_one_cluster(features):
    assert not cluster(features, seed=0).any()


def test_bins_hold_every_value():
    for values in ([5], [3, 3, 3], [1, 1000], [0, 7], range(1, 500), [0.1, 0.7, 90]):
        about = distribution(np.array(values))
        assert sum(about["histogram"]["counts"]) == len(values)
        assert about["min"] == min(values) and about["max"] == max(values)


def test_samples_are_of_every_kind_and_density():
    def images(group, count):
        entry = {"group": group, "objects": 1}
        return [
            {**entry, "id": f"{group}{n}", "file_name": f"{n:03}", "density": n}
            for n in range(count)
        ]

    everything = images("many", 90) + images("few", 9) + images("one", 1)
    chosen = [entry["id"] for entry in choose_samples(everything, 12)]
    assert len(set(chosen)) == 12 and "one0" in chosen
    assert {"many0", "many89", "few0", "few8"} <= set(chosen)
    assert len(choose_samples(images("a", 3), 12)) == 3
    many_groups = [entry for n in range(20) for entry in images(str(n), 1)]
    assert len({entry["id"] for entry in choose_samples(many_groups, 12)}) == 12


# settings


def merged(numbers: dict, tmp_path: Path):
    """The config that the settings give when they are merged into the one they are for."""
    cfg = build_config(FAST)
    cfg.defrost()
    (tmp_path / "settings.yaml").write_text(settings_yaml(numbers["settings"]))
    cfg.merge_from_file(str(tmp_path / "settings.yaml"))
    check_area_bins(cfg)
    return cfg


def value_of(cfg, key: str):
    for part in key.split("."):
        cfg = getattr(cfg, part)
    return list(cfg) if isinstance(cfg, tuple) else cfg


def test_the_settings_load_with_the_values_that_are_told(made, tmp_path, coco):
    numbers = inspect(CocoSet(annotations_of(made), made / "images"))
    cfg = merged(numbers, tmp_path)
    for entry in numbers["settings"]:
        assert value_of(cfg, entry["key"]) == entry["value"], entry["key"]
    assert cfg.INPUT.MASK_FORMAT == "bitmask" and cfg.INPUT.MIN_SIZE_TEST == 0
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1 and cfg.INPUT.FORMAT == "RGB"
    assert cfg.INPUT.CROP.SIZE == [64, 64]  # no larger than the images
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 100
    boxes = np.array([e["bbox"] for e in coco["annotations"]])[:, 2:]
    smallest = np.quantile(np.sqrt(boxes.prod(axis=1)), 0.05)
    expected = [[round(smallest * 2**level)] for level in range(5)]
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == expected


def test_a_training_takes_the_file_of_settings_as_it_is(made, tmp_path):
    data = CocoSet(annotations_of(made), made / "images")
    write_inspection(tmp_path, inspect(data), data)
    cfg = build_config(str(tmp_path / "settings.yaml"))
    assert cfg.INPUT.CROP.SIZE == [64, 64]
    # what its pretrained weights take; the page has that of the images, for random weights
    assert cfg.MODEL.WEIGHTS.startswith("timm://") and cfg.MODEL.PIXEL_MEAN == [127.0] * 3
    assert "training from random weights" in (tmp_path / "report.md").read_text()
    assert register_file(cfg.DATASETS.TRAIN[0])
    assert len(DatasetCatalog.get(cfg.DATASETS.TRAIN[0])) == 6


def numbers_with(**changes) -> dict:
    """Numbers of a made-up set; changes of a distribution are merged into it."""
    quantiles = {
        "an_image": {"max": 50},
        "box_size": {"p5": 10.0, "p50": 20.0, "p95": 40.0},
        "box_long_side": {"p95": 40.0},
        "density": {"p50": 500.0},
        "diameter": {"p50": 20.0},
        "elongation": {"p95": 2.0},
    }
    sizes = changes.pop("sizes", [{"height": 600, "width": 700, "images": 4}])
    objects = {"polygons": 0, "number": 100, "crowds": 0, "area_terciles": [200.0, 500.0]}
    for key, value in changes.items():
        (quantiles if key in quantiles else objects)[key] = value
    images = {
        "number": 4,
        "without_objects": 0,
        "sizes": sizes,
        "formats": [{"dtype": "uint8", "channels": "RGB", "images": 4}],
        "groups": [],
        "mean": [1.0, 2.0, 3.0],
        "std": [0.0, 5.0, 6.0],
        "mean_of_images": 4,
    }
    objects["distributions"] = quantiles
    categories = [{"name": "a", "objects": 100}, {"name": "b", "objects": 0}]
    return {"images": images, "objects": objects, "categories": categories}


def suggested(**changes) -> dict:
    return {e["key"]: e["value"] for e in suggest_settings(numbers_with(**changes))["settings"]}


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"an_image": {"max": 50}}, "TEST.DETECTIONS_PER_IMAGE", 100),
        ({"an_image": {"max": 375}}, "TEST.DETECTIONS_PER_IMAGE", 500),
        ({"an_image": {"max": 1000}}, "TEST.DETECTIONS_PER_IMAGE", 1300),
        ({"an_image": {"max": 1000}}, "MODEL.RPN.POST_NMS_TOPK_TEST", 2600),
        ({"an_image": {"max": 1000}}, "MODEL.RPN.PRE_NMS_TOPK_TEST", 2600),
        ({"an_image": {"max": 50}}, "MODEL.RPN.POST_NMS_TOPK_TEST", 1000),
        ({}, "MODEL.ANCHOR_GENERATOR.SIZES", [[10], [20], [40], [80], [160]]),
        (
            {"box_size": {"p5": 100.0, "p50": 150.0, "p95": 200.0}},
            "MODEL.ANCHOR_GENERATOR.SIZES",
            [[25], [50], [100], [200], [400]],
        ),
        (
            {"box_size": {"p5": 8.0, "p50": 50.0, "p95": 648.0}},
            "MODEL.ANCHOR_GENERATOR.SIZES",
            [[8], [24], [72], [216], [648]],
        ),
        ({"elongation": {"p95": 1.3}}, "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[1.0]]),
        ({"elongation": {"p95": 2.9}}, "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[0.5, 1.0, 2.0]]),
        (
            {"elongation": {"p95": 4.0}},
            "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
            [[0.25, 0.5, 1.0, 2.0, 4.0]],
        ),
        ({"area_terciles": [465.0, 1234.0]}, "TEST.AREA_BINS", [470, 1200]),
        ({"area_terciles": [30.0, 30.0]}, "TEST.AREA_BINS", [30, 31]),
        ({}, "INPUT.CROP.SIZE", [160, 160]),
        ({"box_long_side": {"p95": 400.0}}, "INPUT.CROP.SIZE", [512, 512]),
        ({"density": {"p50": 100.0}}, "INPUT.CROP.SIZE", [320, 320]),
        ({}, "MODEL.ROI_HEADS.NUM_CLASSES", 2),
        ({"polygons": 100}, "INPUT.MASK_FORMAT", "polygon"),
        ({"polygons": 50}, "INPUT.MASK_FORMAT", "bitmask"),
    ],
)
def test_what_is_suggested(changes, key, value):
    assert suggested(**changes)[key] == value


def test_anchor_sizes_rise_with_the_strides_and_reach_the_largest():
    for low, high in ((3, 9), (5, 30), (33, 40), (10, 1000), (300, 310)):
        box = {"p5": float(low), "p50": (low * high) ** 0.5, "p95": float(high)}
        sizes = [size for (size,) in suggested(box_size=box)["MODEL.ANCHOR_GENERATOR.SIZES"]]
        assert all(b >= 2 * a - 1 for a, b in zip(sizes, sizes[1:]))
        assert sizes[0] <= max(low, 4) and sizes[-1] >= high


def test_small_objects_are_enlarged_where_the_images_are_of_one_size(tmp_path):
    small = {"diameter": {"p50": 5.0}, "box_size": {"p5": 3.0, "p50": 5.0, "p95": 8.0}}
    numbers = numbers_with(**small)
    numbers.update(suggest_settings(numbers))
    cfg = merged(numbers, tmp_path)
    # 3 times: 15 px. Detectron2 crops before it resizes
    assert cfg.INPUT.MIN_SIZE_TRAIN == (3 * cfg.INPUT.CROP.SIZE[0],)
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (1800, 2100)
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES[0] == [9]
    assert any("enlarge the images 3 times" in note for note in numbers["notes"])
    two = [{"height": 600, "width": 700, "images": 3}, {"height": 90, "width": 90, "images": 1}]
    numbers = numbers_with(**small, sizes=two)
    numbers.update(suggest_settings(numbers))
    assert merged(numbers, tmp_path).INPUT.MIN_SIZE_TEST == 0
    assert any("enlarge images and masks 3 times" in note for note in numbers["notes"])


def test_every_setting_has_its_reason_above_it():
    text = settings_yaml(suggest_settings(numbers_with())["settings"])
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if ": " in line and not line.lstrip().startswith("#"):
            assert lines[number - 1].lstrip().startswith("#"), line
    assert max(map(len, lines)) <= 100
    assert yaml.safe_load(text)["MODEL"]["RPN"]["POST_NMS_TOPK_TEST"] == 1000


# what is left out


def drop(truth: dict, name: str) -> dict:
    """The set without an image."""
    (gone,) = [image["id"] for image in truth["images"] if image["file_name"] == name]
    images = [image for image in truth["images"] if image["id"] != gone]
    kept = [entry for entry in truth["annotations"] if entry["image_id"] != gone]
    return {**truth, "images": images, "annotations": kept}


def copy_images(made: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in (made / "images").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def missing(path: Path) -> None:
    path.unlink()


def other_size(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((64, 65), dtype=np.uint8))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def no_image(path: Path) -> None:
    path.write_text("hello")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (missing, "no such file"),
        (other_size, "has 64 x 65 pixels; the annotations say 64 x 64"),
        (cut_short, "cannot be read"),
        (no_image, "cannot be read"),
    ],
)
def test_a_bad_image_is_told_and_left_out(tmp_path, made, coco, as_set, spoil, reason):
    folder = copy_images(made, tmp_path / "in")
    name = coco["images"][2]["file_name"]
    spoil(folder / name)
    data = as_set(coco, folder)
    numbers = inspect(data)
    ((scope, item, said),) = numbers["left_out"]["problems"]
    assert (scope, item) == ("image", name) and reason in said and str(folder) not in said
    assert numbers["left_out"]["images"] == 1
    expected = inspect(as_set(drop(coco, name), folder))
    assert numbers["objects"]["distributions"] == expected["objects"]["distributions"]
    page = page_text(numbers)
    assert "Left out: 1 image;" in page and f"- {name}: " in page


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((64, 64), np.nan, dtype=np.float32), "values that are NaN or infinite"),
        (np.ones((64, 64), dtype=np.complex64), "pixels of the type complex64"),
    ],
)
def test_an_image_of_no_numbers_is_left_out(tmp_path, coco, made, as_set, pixels, reason):
    folder = copy_images(made, tmp_path / "in")
    tifffile.imwrite(folder / "b.tif", pixels)
    coco["images"].append({"id": 99, "file_name": "b.tif", "height": 64, "width": 64})
    numbers = inspect(as_set(coco, folder))
    ((scope, item, said),) = numbers["left_out"]["problems"]
    assert (scope, item) == ("image", "b.tif") and reason in said
    assert numbers["images"]["number"] == 6


def test_a_size_in_quotes_is_told(coco, as_set):
    coco["images"][0]["height"] = "64"
    ((_, item, said),) = inspect(as_set(coco))["left_out"]["problems"]
    assert item == "nuclei_0000.png" and "the annotations say '64' x 64" in said


@pytest.mark.parametrize(
    ("change", "item", "reason"),
    [
        ({"file_name": "../../secret.png"}, "../../secret.png", "leads out"),
        ({"file_name": "/etc/x.png"}, "/etc/x.png", "leads out"),
        ({"file_name": ""}, "image 99", "is not text, or an empty one"),
        ({"file_name": 5}, "image 99", "is not text, or an empty one"),
        ({"file_name": "nuclei_0000.png"}, "nuclei_0000.png", "listed twice"),
        ({"id": 1}, "x y é.png", "two images have the id 1"),
        ({"id": [1]}, "x y é.png", "no such file"),
    ],
)
def test_a_bad_entry_of_an_image_is_told(coco, as_set, change, item, reason):
    coco["images"].append({"id": 99, "file_name": "x y é.png", "height": 64, "width": 64, **change})
    numbers = inspect(as_set(coco))
    ((scope, said_item, said),) = numbers["left_out"]["problems"]
    assert (scope, said_item) == ("image", item) and reason in said
    assert numbers["images"]["number"] == 6


@pytest.mark.parametrize(
    ("change", "item", "reason"),
    [
        ({"image_id": 77}, "image 77", "annotation 900: its image_id is that of no image"),
        ({"image_id": [1]}, "image [1]", "annotation 900: its image_id is that of no image"),
        ({"category_id": 8}, "nuclei_0000.png", "its category_id 8 is that of no category"),
        ({"category_id": None}, "nuclei_0000.png", "is that of no category"),
        ({"segmentation": None}, "nuclei_0000.png", "annotation 900: has no segmentation"),
        ({"segmentation": {"size": [64, 64], "counts": "00"}}, "nuclei_0000.png", "add up"),
        ({"segmentation": [[1, 1, 1, 1]]}, "nuclei_0000.png", "a polygon: 2 points"),
    ],
)
def test_a_bad_object_is_told_and_left_out(made, coco, as_set, change, item, reason):
    expected = inspect(as_set(coco))
    coco["annotations"].append({**coco["annotations"][0], "id": 900, **change})
    numbers = inspect(as_set(coco))
    ((scope, said_item, said),) = numbers["left_out"]["problems"]
    assert (scope, said_item) == ("object", item) and reason in said
    assert numbers["left_out"]["objects"] == 1
    assert numbers["objects"]["number"] == expected["objects"]["number"]
    assert numbers["objects"]["touching"] == expected["objects"]["touching"]


def test_crowds_are_counted_by_themselves(coco, as_set):
    coco["annotations"][0]["iscrowd"] = 1
    numbers = inspect(as_set(coco))
    assert numbers["objects"]["crowds"] == 1
    assert numbers["objects"]["number"] == len(coco["annotations"]) - 1
    assert any("crowds (iscrowd): 1." in note for note in numbers["notes"])


def test_an_image_without_objects_stays(coco, as_set):
    coco["annotations"] = [e for e in coco["annotations"] if e["image_id"] != 1]
    numbers = inspect(as_set(coco))
    assert numbers["images"]["number"] == 6 and numbers["images"]["without_objects"] == 1
    assert numbers["objects"]["distributions"]["an_image"]["min"] == 0


# files


def test_what_the_data_says_becomes_no_part_of_the_page(tmp_path, as_set):
    evil = "<script>alert(1)</script> | [x](http://y) `c`"
    write_colour(tmp_path / "in", "a", red=200)
    truth = coco_of([square(3, 3, 20)], categories=[{"id": 1, "name": evil}])
    truth["images"].append({"id": 2, "file_name": f'"><img src="samples.png">{evil}'})
    truth["images"][-1].update(height=5, width=5)
    data = as_set(truth, tmp_path / "in")
    write_inspection(tmp_path / "out", inspect(data), data)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page and "http://y" in page and "<a href=" in page
    assert '<a href="http://y' not in page and "<code>c" not in page
    assert page.count("<img") == 2 and page.count('src="data:image/png;base64,') == 2
    (row,) = [line for line in page.splitlines() if "alert" in line and "<td" in line]
    assert row.count("<td") == 1


@pytest.mark.slow
def test_the_tool_writes_all_files_and_the_same_each_time(tmp_path, made, capsys):
    arguments = ["--annotations", annotations_of(made), "--images", made / "images", "--output"]
    for out in ("one", "two"):
        cli.main(["inspect", *map(str, arguments), str(tmp_path / out)])
    printed = capsys.readouterr().out
    assert "6 images" in printed and str(tmp_path / "one" / "report.html") in printed
    assert {path.name for path in (tmp_path / "one").iterdir()} == FILES
    for name in FILES:
        first, second = ((tmp_path / out / name).read_bytes() for out in ("one", "two"))
        assert first == second, name
    numbers = json.loads((tmp_path / "one" / "inspection.json").read_text())
    assert numbers["images"]["number"] == 6 and numbers["left_out"]["problems"] == []
    sheet = cv2.imread(str(tmp_path / "one" / "samples.png"))
    assert sheet.shape[1] == 2 * (2 * 300 + 3 * 8)
    page = (tmp_path / "one" / "report.md").read_text()
    assert "Left out" not in page and settings_yaml(numbers["settings"]) in page


def test_the_tool_tells_what_it_left_out(tmp_path, made, coco, capsys):
    folder = copy_images(made, tmp_path / "in")
    name = coco["images"][0]["file_name"]
    missing(folder / name)
    arguments = ["--annotations", str(annotations_of(made)), "--images", str(folder)]
    cli.main(["inspect", *arguments, "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "left out: 1 image" in said and f"{name}: there is no such file" in said


def no_folder(tmp_path, truth):
    return truth, tmp_path / "nowhere"


def empty_folder(tmp_path, truth):
    (tmp_path / "empty").mkdir()
    return truth, tmp_path / "empty"


def no_images(tmp_path, truth):
    return {**truth, "images": [], "annotations": []}, None


def no_objects(tmp_path, truth):
    return {**truth, "annotations": []}, None


def not_coco(tmp_path, truth):
    return [1, 2], None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_folder, "there is no such folder"),
        (empty_folder, "none of its images is left"),
        (no_images, "none of its images is left"),
        (no_objects, "no object is left"),
        (not_coco, "not a COCO annotation file"),
    ],
)
def test_the_tool_ends_with_a_message_where_nothing_is_left(
    tmp_path, made, coco, capsys, spoil, message
):
    truth, folder = spoil(tmp_path, coco)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    arguments = ["--annotations", tmp_path / "truth.json", "--images", folder or made / "images"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["inspect", *map(str, arguments), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert (
        message in said and str(folder if spoil is no_folder else tmp_path / "truth.json") in said
    )
    assert not (tmp_path / "out").exists()


def test_no_annotation_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="missing.json"):
        CocoSet(tmp_path / "missing.json", tmp_path)


def test_images_of_unlike_channels_are_told():
    numbers = numbers_with()
    numbers["images"]["formats"] = [
        {"dtype": "uint8", "channels": "RGB", "images": 3},
        {"dtype": "uint8", "channels": "5 channels", "images": 1},
    ]
    notes = suggest_settings(numbers)["notes"]
    assert any(note.startswith("The images differ in their channels (5 channels, RGB)")
               for note in notes)  # fmt: skip


def test_images_of_unlike_numbers_are_reported():
    numbers = numbers_with()
    numbers["images"]["formats"] = [
        {"dtype": "uint8", "channels": "grey", "images": 90},
        {"dtype": "uint16", "channels": "grey", "images": 1},
    ]
    notes = suggest_settings(numbers)["notes"]
    assert any("several types of numbers (uint16, uint8)" in note for note in notes)

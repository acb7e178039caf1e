"""``maskrcnnpp evaluate``: label images of any program, with the truth."""

import csv
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from maskrcnnpp import cli
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.evaluation.label_images import compare, image_key, label_key


def labels(seed, shape=(40, 50)):
    """Squares, of which those of another seed are moved."""
    made = np.zeros(shape, np.uint16)
    for number in range(4):
        top, left = 2 + 9 * number, 3 + 9 * number + seed
        made[top : top + 7, left : left + 7] = 5 * number + 1
    return made


def write(folder, **images):
    folder.mkdir(exist_ok=True)
    for name, pixels in images.items():
        path = folder / name.replace("__", ".")
        if path.suffix == ".tif":
            tifffile.imwrite(path, pixels)
        else:
            Image.fromarray(pixels).save(path)
    return folder


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((f"a{ending}", "a") for ending in (".png.labels.tif", "_masks.png", "_Mask.tif", ".png")),
        *((f"a{ending}", "a") for ending in (".ome.tif.labels.tif", "_cp_masks.tif")),
        *((f"a{ending}", "a") for ending in ("_img.png.labels.tif", ".ome.zarr.labels.tif")),
        ("a_seg.png.labels.tif", "a_seg"),
        ("a.1.tif", "a.1"),
        ("_masks.png", "_masks"),
    ],
)
def test_names_of_one_image_have_one_key(name, key):
    assert label_key(name) == key
    assert image_key(f"sub/{key}.png") == image_key(f"{key}.ome.tif") == key


def test_found_and_missed_objects_are_counted(tmp_path):
    truth = write(tmp_path / "truth", a__png=labels(0), b__tif=labels(0))
    missed = np.where(labels(0) == 1, 0, labels(0))
    predicted = write(tmp_path / "out", a__png__labels__tif=missed, b__tif__labels__tif=labels(1))
    found = compare(predicted, truth)
    assert found.names == ["a.png", "b.tif"] and not found.only_truth + found.only_predicted
    assert found.counts.truths.tolist() == [4, 4] and found.counts.predictions.tolist() == [3, 4]
    # moved by one of seven columns: an IoU of 6/8, matched up to .75
    assert found.counts.true_positives.tolist() == [[3] * 10, [4] * 6 + [0] * 4]
    assert found.counts.dsb_scores() == pytest.approx([0.75, 0.6])
    assert compare(truth, truth).counts.dsb_scores().tolist() == [1, 1]


def test_the_command_with_folders_and_with_a_coco_file(tmp_path, capsys):
    truth = write(tmp_path / "set", a_masks__png=labels(0), b_masks__png=labels(0))
    write(tmp_path / "set", a__png=labels(3), b__png=labels(3))
    predicted = write(
        tmp_path / "out", a__png__labels__tif=labels(1), b__png__labels__tif=labels(0)
    )
    write(predicted, a__png__overlay__png=labels(9))
    words = ["evaluate", str(predicted), "--truth"]
    assert cli.main([*words, str(truth), "--output", str(tmp_path / "e.csv")]) == 0
    first = capsys.readouterr().out
    assert "2 images, 8 objects to find, 8 found, 8 matched" in first
    with open(tmp_path / "e.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["f1"], row["dsb_score"]) for row in rows] == [
        ("a_masks.png", "1.0", "0.6"),
        ("b_masks.png", "1.0", "1.0"),
    ]
    coco = tmp_path / "coco"
    cli.main(["convert", "--input", str(truth), "--output", str(coco)])
    capsys.readouterr()
    assert cli.main([*words, str(coco / "annotations/instances_all.json")]) == 0
    assert capsys.readouterr().out.splitlines()[:9] == first.splitlines()[:9]


def test_images_of_one_side_alone(tmp_path, capsys):
    truth = write(tmp_path / "truth", a__png=labels(0), b__png=labels(0))
    predicted = write(tmp_path / "out", a__png=labels(0), c__png=labels(0))
    words = ["evaluate", str(predicted), "--truth", str(truth)]
    with pytest.raises(DataError, match="no label image of 1 images of .* as b.png.*--common"):
        cli.run(words[0], words[1:])
    assert cli.main([*words, "--common"]) == 0
    said = capsys.readouterr()
    assert "1 images, 4 objects to find" in said.out
    for side, name in (("truth", "b.png"), ("prediction", "c.png")):
        assert f"1 images that the {side} alone has, as {name}" in said.err


def test_bad_input_is_told(tmp_path):
    truth = write(tmp_path / "truth", a__png=labels(0))
    for name, pixels, message in (
        ("small", labels(0, (30, 50)), "differ in size, 50x30 and 50x40 pixels"),
        ("map", labels(0).astype(np.float32) / 40, "a.tif: .*is it a probability map"),
    ):
        with pytest.raises(DataError, match=message):
            compare(write(tmp_path / name, a__tif=pixels), truth)
    mask = np.where(labels(0) > 0, 255, 0).astype(np.uint8)
    pieces = write(tmp_path / "pieces", a__png=mask)
    with pytest.raises(DataError, match="is it a foreground mask"):
        compare(truth, pieces)
    assert compare(pieces, truth).counts.predictions == [1]  # of a model, that is what it found
    with pytest.raises(DataError, match="negative"):
        compare(write(tmp_path / "below", a__tif=-labels(0).astype(np.int32)), truth)
    with pytest.raises(DataError, match="no image is both in .*b.png in one and a.png in"):
        compare(write(tmp_path / "other", b__png=labels(0)), truth)
    with pytest.raises(DataError, match="a.png and a.tif would be of the same image"):
        compare(write(tmp_path / "twice", a__png=labels(0), a__tif=labels(0)), truth)
    mixed = write(tmp_path / "mixed", a__png=labels(0), a_gt__png=labels(0), b__png=labels(0))
    with pytest.raises(DataError, match="and b.png that has none beside it"):
        compare(truth, mixed)
    with pytest.raises(DataError, match="neither a folder of label images nor a COCO file"):
        compare(truth, truth / "a.png")
    for folder in ("nowhere", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=f"{folder} (is not a folder|has no label image)"):
            compare(tmp_path / folder, truth)
    words = [str(truth), "--truth", str(truth), "--output", str(tmp_path / "x.txt")]
    with pytest.raises(ConfigError, match="ends in .csv"):
        cli.run("evaluate", words)
    crowd = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 9, 9]}
    data = {
        "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 50}],
        "annotations": [crowd | {"area": 9, "segmentation": [[0, 0, 9, 0, 9, 9]]}],
        "categories": [{"id": 1, "name": "x"}],
    }
    (tmp_path / "crowd.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="a.png has a crowd"):
        compare(truth, tmp_path / "crowd.json")
    del data["annotations"][0]["segmentation"], data["annotations"][0]["iscrowd"]
    (tmp_path / "boxes.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="a.png has an annotation without a mask"):
        compare(truth, tmp_path / "boxes.json")
    (tmp_path / "none.json").write_text(json.dumps({**data, "annotations": []}))
    assert compare(truth, tmp_path / "none.json").counts.predictions == [4]

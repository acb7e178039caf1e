"""Other programs, speed, and kinds of images that are left out."""

import json

import cv2
import numpy as np
import pytest
from made_up import cells, script

from maskrcnnpp.benchmark.results import load
from maskrcnnpp.convert.splits import classify_stain
from maskrcnnpp.errors import UserError

peers, speed, kinds = map(script, ("peers", "speed", "kinds"))


@pytest.mark.parametrize("module", [speed, kinds])
def test_pages_are_what_their_records_give(module):
    if not module.RECORD.is_file():
        pytest.skip("not measured yet")
    record = json.loads(module.RECORD.read_text(encoding="utf-8"))
    assert module.PAGE.read_text(encoding="utf-8") == module.page(record)


def test_the_page_of_peers_is_what_its_record_gives():
    if not peers.RECORD.is_file():
        pytest.skip("not measured yet")
    runs = json.loads(peers.RECORD.read_text(encoding="utf-8"))
    assert peers.PAGE.read_text(encoding="utf-8") == peers.page(runs, load(peers.OURS))


def square(image_id, score):
    mask = {"size": [40, 40], "counts": [3, 9, 31, 9, 1548]}
    return {"image_id": image_id, "category_id": 1, "segmentation": mask, "score": score}


def test_a_peer_is_scored_as_our_arms(tmp_path, monkeypatch):
    image = {"file_name": "a.png", "height": 40, "width": 40}
    annotation = {**square(1, 1.0), "id": 1, "area": 18, "bbox": [0, 3, 2, 9], "iscrowd": 0}
    truth = {"images": [{**image, "id": 1}], "annotations": [annotation]}
    truth["categories"] = [{"id": 1, "name": "nucleus"}]
    folder = tmp_path / "dsb2018" / "annotations"
    folder.mkdir(parents=True)
    for part in ("val", "test"):
        (folder / f"instances_{part}.json").write_text(json.dumps(truth))
        (tmp_path / f"dsb2018_{part}.json").write_text(json.dumps([square(1, 0.8)]))
    run = {"seed": 0, "minutes": 43, "steps": 7, "threads": 1, "versions": {"peer": "1"}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    monkeypatch.setattr(peers, "datasets_root", lambda: str(tmp_path))
    found = peers.entry("Peer", tmp_path, {"max_dets": 100, "area_bins": [16, 32]})
    assert found["PQ"] == found["F1"] == 1 and found["mask AP"] == pytest.approx(100)
    page = peers.page([found, {**found, "seed": 1}], load(peers.OURS))
    assert cells(page, "Peer")[:3] == ["43 CPU-minutes, 7 steps", "2", "1.000 (0.000)"]


def test_seconds_are_for_a_megapixel():
    of_image = {"objects": 33, "cpu": [0.5, 0.2, 0.3], "wall": [0.5] * 3, "peak": 700.4}
    about = {"cold": 1.04, "images": [of_image, of_image, of_image]}
    found = {"programs": {"ours": about}, "sides": [512, 1024, 2048], "repeats": 3}
    page = speed.page({**found, "machine": {}, "versions": {}})
    row = ["1.20 (2.00)", "33", "0.30 (0.50)", "33", "0.07 (0.12)", "33", "700", "1.0"]
    assert cells(page, "ours") == row


def test_a_program_that_fails_says_why(tmp_path):
    (tmp_path / "fails.py").write_text("raise SystemExit('no such model')")
    with pytest.raises(UserError, match="fails.py failed: no such model"):
        speed.run([speed.sys.executable, str(tmp_path / "fails.py")], [])


def test_each_fold_leaves_one_kind_out(tmp_path, monkeypatch):
    colours = {"dark": (9, 9, 9), "light": (230, 230, 230), "pink": (200, 120, 180)}
    colours["white"] = (250, 200, 230)
    data = tmp_path / "dsb2018"
    for folder in ("images", "annotations"):
        (data / folder).mkdir(parents=True)
    images = []
    for number, (name, colour) in enumerate(colours.items(), start=1):
        pixels = np.full((8, 8, 3), colour, np.uint8)
        assert classify_stain(pixels)
        cv2.imwrite(str(data / "images" / f"{name}.png"), pixels[..., ::-1])
        images.append({"id": number, "file_name": f"{name}.png", "height": 8, "width": 8})
    truth = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "nucleus"}]}
    for part in ("train", "val", "test"):
        (data / "annotations" / f"instances_{part}.json").write_text(json.dumps(truth))
    monkeypatch.setattr(kinds, "datasets_root", lambda: str(tmp_path))
    kinds.write_folds(tmp_path / "folds")
    sizes = {"train": 6, "tune": 3, "test": 3}  # of 4 images in each of 3 parts
    kept = dict(zip(kinds.KINDS, ("dark", "pink", "white", "light")))
    for kind, name in kept.items():
        for fold, size in sizes.items():
            found = json.loads((tmp_path / "folds" / kind / f"{fold}.json").read_text())["images"]
            names = {image["file_name"] for image in found}
            assert len(found) == len({image["id"] for image in found}) == size
            assert (names == {f"{name}.png"}) if fold == "test" else f"{name}.png" not in names
    words = kinds.options(tmp_path / "folds" / "h_and_e", 300)
    assert words[-2:] == ["SOLVER.STEPS", "(200, 270)"]

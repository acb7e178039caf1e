"""The page of a run: what is in it, and what a browser makes of it."""

import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from maskrcnnpp import cli
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.images import open_image
from maskrcnnpp.inference.marks import state_of
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.run import Job
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info

SCORES = (0.95, 0.8, 0.65)
NASTY = "<img src=x onerror=document.title=1>.png"


def disk(radius):
    side = np.arange(-radius, radius + 1)
    return side[:, None] ** 2 + side**2 <= radius**2


@pytest.fixture
def make_run(tmp_path):
    """``make_run(names, formats)``: the folder of a run, with three disks in each 64x80 image."""

    def make(names=("a.png", "b.png"), formats=("labels", "csv"), detections=None):
        (tmp_path / "images").mkdir()
        files = [tmp_path / "images" / name for name in names]
        output = tmp_path / "run"
        output.mkdir()
        record = {"settings": {"score_threshold": 0.5, "channels": None}, "calls": []}
        (output / "run.json").write_text(json.dumps(record))
        job = Job(files, output, formats)
        for file in files:
            Image.fromarray(np.full((64, 80, 3), 90, np.uint8)).save(file)
            found = detections or [
                Detection((0.0, 0.0, 9.0, 9.0), score, 0, disk(4 + k), 20 * k, 5 + 20 * k)
                for k, score in enumerate(SCORES)
            ]
            with open_image(file) as raster:
                info = Info(file.name, raster, Naming(["</script><b>cell"], [1]))
                for name, path in job.outputs(file).items():
                    WRITERS[name].write(Objects(found, 64, 80), info, path)
            job.mark_done(file, state_of(file), job.outputs(file))
        return output

    return make


def data_of(run):
    (text,) = re.findall(r'id="data">(.*?)</script>', (run / "view.html").read_text(), re.DOTALL)
    return json.loads(text)


@pytest.mark.parametrize("form", ["coco", "geojson", "labels"])
def test_table_outlines_and_picture(make_run, form, capsys):
    run = make_run(formats=("csv", form))
    assert cli.run("view", [str(run)]) == 0
    assert "2 images, 6 objects" in capsys.readouterr().out
    data = data_of(run)
    first = data["images"][0]
    assert data["score"] == 0.5 and not data["remarks"]
    assert (first["name"], first["height"], first["width"]) == ("a.png", 64, 80)
    assert first["values"]["score"] == list(SCORES)
    assert first["values"]["area"] == [disk(4 + k).sum() for k in range(3)]
    assert first["values"]["class"] == ["</script><b>cell"] * 3
    for k, (ring,) in enumerate(first["outlines"]):
        corners = np.cumsum(np.reshape(ring, (-1, 2)), axis=0)
        assert corners.min(axis=0).tolist() == [5 + 20 * k, 20 * k]
        area = cv2.contourArea(corners.astype(np.int32))
        assert abs(area - disk(4 + k).sum()) <= 0.06 * disk(4 + k).sum()


def test_masks_that_another_covers_keep_their_outline_or_lose_it(make_run):
    above, below = (Detection((0, 0, 9, 9), s, 0, disk(4), 9, 9) for s in (0.9, 0.8))
    run = make_run(["a.png"], ["csv", "labels"], [above, below])
    cli.run("view", [str(run)])
    assert [len(rings) for rings in data_of(run)["images"][0]["outlines"]] == [1, 0]


def test_labels_that_were_corrected_by_hand(make_run, capsys):
    run = make_run()
    record = {"settings": {"score_threshold": 0.5, "overlaps": "resolve"}, "calls": []}
    (run / "run.json").write_text(json.dumps(record))
    more, fewer = (tifffile.imread(run / f"{name}.png.labels.tif") for name in "ab")
    more[60:, 70:] = 9
    tifffile.imwrite(run / "a.png.labels.tif", more)
    fewer[fewer == 3] = 0
    tifffile.imwrite(run / "b.png.labels.tif", fewer)
    cli.run("view", [str(run)])
    said = capsys.readouterr()
    assert "1 images, 2 objects" in said.out
    assert "b.png: 1 objects of the table have no pixels any more" in said.err
    assert "has an object of the number 9, and the table 3 objects: it was changed" in said.err
    assert "remove it" not in said.err


def test_what_is_left_out_is_said(make_run, capsys):
    run = make_run()
    assert cli.run("view", [str(run), "--max-images", "1", "--max-objects", "2"]) == 0
    said = capsys.readouterr()
    assert "1 images, 2 objects" in said.out
    assert "1 more images are not in the page" in said.err
    assert "a.png: 1 objects are not in the page, those of the lowest scores" in said.err
    data = data_of(run)
    assert data["images"][0]["values"]["score"] == [0.95, 0.8] and len(data["remarks"]) == 2


def test_images_that_are_gone_or_moved(make_run, tmp_path, capsys):
    run = make_run(["a.png"])
    (tmp_path / "images").rename(tmp_path / "moved")
    assert cli.run("view", [str(run)]) == 0
    assert "outlines only: " in (said := capsys.readouterr().err) and "give --images" in said
    (image,) = data_of(run)["images"]
    assert "picture" not in image and len(image["outlines"]) == 3
    assert cli.run("view", [str(run), "--images", str(tmp_path / "moved")]) == 0
    assert "picture" in data_of(run)["images"][0] and not capsys.readouterr().err
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "moved" / "a.png")
    shutil.rmtree(run / ".done")  # nothing says how large the file was
    cli.run("view", [str(run), "--images", str(tmp_path / "moved")])
    assert "a.png is smaller than the image" in capsys.readouterr().err
    cli.run("view", [str(run)])
    assert "where this image was is not known" in capsys.readouterr().err


def test_formats_that_are_missing_are_named(make_run, capsys):
    run = make_run(formats=("csv", "overlay"))
    with pytest.raises(DataError, match="a.png has no outlines.*--format labels"):
        cli.run("view", [str(run)])
    (run / "a.png.csv").unlink()
    with pytest.raises(DataError, match="1 images have no table, such as a.png.*--format csv"):
        cli.run("view", [str(run)])
    (run / "b.png.csv").unlink()
    with pytest.raises(DataError, match=r"no table of objects.*same words and --format csv"):
        cli.run("view", [str(run)])
    assert not (run / "view.html").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png.csv", b"number,score\n1,\xff\n"),
        ("a.png.csv", b"number,score\n1,much\n"),
        ("a.png.csv", b"\0"),
        ("a.png.csv", b"number,score\n1,0.5\n"),  # three objects have outlines
        ("a.png.coco.json", b"[{}]"),
        ("a.png.coco.json", b'{"a": 1}'),
        ("a.png.coco.json", b'[{"segmentation": {"size": [9, 9], "counts": "x"}}]'),
    ],
)
def test_an_output_that_is_broken_leaves_out_its_image(make_run, name, content, capsys):
    run = make_run(formats=("csv", "coco"))
    (run / name).write_bytes(content)
    assert cli.run("view", [str(run)]) == 1
    assert "left out: " in (said := capsys.readouterr().err) and "cannot be read" in said
    assert [image["name"] for image in data_of(run)["images"]] == ["b.png"]


def test_what_is_no_run_or_no_page(make_run, tmp_path):
    with pytest.raises(DataError, match="run.json is not there: give a folder that was --output"):
        cli.run("view", [str(tmp_path)])
    run = make_run(["a.png"])
    with pytest.raises(ConfigError, match="ends in .html"):
        cli.run("view", [str(run), "--output", str(tmp_path / "images" / "a.png")])
    with pytest.raises(ConfigError, match="--images .*no such folder"):
        cli.run("view", [str(run), "--images", str(tmp_path / "none")])
    (run / "run.json").write_text("[]")
    with pytest.raises(DataError, match="no record of a run"):
        cli.run("view", [str(run)])


@pytest.fixture
def browse(tmp_path):
    """``browse(page, place)``: the page as Chromium has it, at a place such as "score=0.7"."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")

    def show(page, place):
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000"]
        address = f"{page.resolve().as_uri()}#{place}"
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition('<script type="application/json"')[0]

    return show


def test_a_browser_counts_sorts_and_escapes(make_run, browse):
    run = make_run(["a.png", NASTY])
    cli.run("view", [str(run)])
    page = browse(run / "view.html", "image=2&score=0.7&sort=area&down=1&object=1")
    assert "4 of 6 objects in 2 images" in page and page.count("2 of 3 objects") == 2
    assert "objects 1 to 2 of 2" in page
    rows = re.findall(r"<tr[^>]*>((?:<td.*?</td>)+)</tr>", page)
    areas = [re.findall(r"<td.*?>(.*?)</td>", row)[3] for row in rows]
    assert areas == [str(disk(5).sum()), str(disk(4).sum())]
    assert page.count('<tr class="chosen">') == 1
    assert "<title>run</title>" in page and "&lt;img src=x onerror" in page
    assert "<img src=" not in page and "<b>cell" not in page
    page = browse(run / "view.html", "score=0&all=1&sort=score")
    assert "6 of 6 objects" in page and "objects 1 to 6 of 6" in page
    scores = re.findall(r"<td>(0\.\d+)</td>", page)[::1]
    assert [s for s in scores if float(s) in SCORES] == [str(s) for s in sorted(SCORES * 2)]

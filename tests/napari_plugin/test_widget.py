"""The dock widget, driven in a napari without a window, and the manifest."""

import json
import os
import time

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("qtpy.QtWidgets", reason="napari needs PyQt or PySide", exc_type=ImportError)

from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication
from superqt.utils import FunctionWorker

from maskrcnnpp.napari import reader, widget
from maskrcnnpp.napari.planes import ALL
from maskrcnnpp.package_files import config_folder

MANIFEST = config_folder().parent / "maskrcnnpp" / "napari" / "napari.yaml"


@pytest.fixture(scope="module")
def app():
    yield QApplication.instance() or QApplication([])
    # as napari does when it is closed: a thread must not outlive Qt
    FunctionWorker.await_workers()


@pytest.fixture
def until(app):
    """Let Qt work until something is so."""

    def wait(condition, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came"
            app.processEvents()

    return wait


@pytest.fixture
def said():
    """Texts of the notifications."""
    texts = []

    def take(notification):
        texts.append(str(notification.message))

    notification_manager.notification_ready.connect(take)
    yield texts
    notification_manager.notification_ready.disconnect(take)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def dock(viewer, tiny_model, until):
    dock = widget.SegmentObjects(viewer)
    dock.segmenting.add_model(tiny_model)
    until(lambda: dock.segmenting.about.text().startswith("tiny"))
    return dock


@pytest.fixture
def found(dock, viewer, picture, until):
    """The tab after a segmentation."""
    viewer.add_image(picture, name="cells", scale=(0.5, 0.5), translate=(2, 3))
    dock.segmenting.task.button.click()
    until(lambda: dock.segmenting.layer is not None)
    return dock.segmenting


def test_the_model_decides_threshold_and_depths(dock):
    tab = dock.segmenting
    assert tab.score.value() == pytest.approx(0.25)
    depths = [tab.depth.itemText(k) for k in range(tab.depth.count())]
    assert depths == ["3 (full)", "2", "1"]
    assert tab.model.itemText(0) == "nuclei"


def test_objects_become_a_layer_with_a_table(found, viewer):
    layer = viewer.layers["objects of cells"]
    assert layer is found.layer and layer.data.max() == len(layer.features) > 0
    assert list(layer.scale) == [0.5, 0.5] and list(layer.translate) == [2, 3]
    assert list(layer.features["index"]) == list(range(1, layer.data.max() + 1))
    assert {"number", "class", "score", "area", "mean_0"} <= set(layer.features)
    assert found.task.button.isEnabled() and not found.task.cancel.isEnabled()


def test_the_threshold_moves_without_the_model(found, viewer, monkeypatch, until):
    monkeypatch.setattr(widget, "segment", None)
    before = len(found.layer.features)
    scores = sorted(found.layer.features["score"])
    found.score.setValue(scores[len(scores) // 2])
    until(lambda: len(found.layer.features) < before)
    assert found.layer.features["score"].min() >= found.score.value() - 1e-6
    assert len(viewer.layers) == 2


def test_corrections_are_not_overwritten_and_are_saved(found, viewer, said, tmp_path):
    corrected = found.layer
    corrected.data[:5, :5] = 999
    for name, box in found.formats.items():
        box.setChecked(name in ("labels", "coco"))
    found.save(tmp_path / "out")
    results = json.loads((tmp_path / "out" / "cells.coco.json").read_text())
    assert results[0]["score"] == 1.0 and "objects of cells are in" in said[-1]
    found.score.setValue(0.05)
    found.apply_score()
    assert "was corrected by hand and stays" in said[-1]
    assert corrected.data[0, 0] == 999 and len(viewer.layers) == 3


def test_formats_that_cannot_be_are_not_offered(found):
    assert {n for n, box in found.formats.items() if not box.isEnabled()} == {
        "classes", "probabilities",
    }  # fmt: skip


def test_what_is_wrong_is_said_in_words(dock, viewer, said, until, picture, tmp_path):
    tab = dock.segmenting
    tab.task.begin()
    assert "no image is chosen" in said[-1]
    tab.save(tmp_path / "out")
    assert "nothing to save yet" in said[-1] and not (tmp_path / "out").exists()
    viewer.add_image(np.zeros((2, 2, 2, 8, 8)), name="five")
    tab.task.begin()
    assert "five has 5 dimensions" in said[-1]
    flawed = viewer.add_image(np.full((8, 8), np.nan), name="flawed")
    tab.fields.image.choose(flawed)
    tab.task.begin()
    until(lambda: tab.task.worker is None)
    assert "flawed has values that are NaN" in said[-1]
    tab.model.setEditText(str(tmp_path / "none"))
    tab.describe()
    until(lambda: "there is no model" in said[-1])
    dock.improving.task.begin()
    assert "no labels are chosen" in said[-1] or "5 dimensions" in said[-1]
    assert tab.result is None


def test_a_stack_says_which_plane_is_taken(dock, viewer):
    viewer.add_image(np.zeros((3, 8, 8)), name="stack")
    fields = dock.segmenting.fields
    assert [fields.channels.itemText(k) for k in range(2)][1] == ALL
    viewer.dims.set_current_step(0, 2)
    assert "(3 of 3)" in fields.note.text() and not fields.note.isHidden()
    viewer.layers["stack"].name = "renamed"
    assert fields.image.currentText() == "renamed"
    viewer.layers.clear()
    assert fields.image.layer is None and fields.channels.count() == 0


def test_cancel(dock, viewer, picture, said, monkeypatch, until):
    def endless(plane, settings, report):
        while True:
            report(1, 3, "at work")

    monkeypatch.setattr(widget, "segment", endless)
    viewer.add_image(picture)
    tab = dock.segmenting
    tab.task.begin()
    until(lambda: tab.task.bar.maximum() == 3)
    assert not tab.task.button.isEnabled()
    tab.task.cancel.click()
    until(lambda: tab.task.worker is None)
    assert tab.task.status.text() == "cancelled" and tab.result is None and said == []
    assert tab.task.button.isEnabled()


def test_faults_of_ours_are_shown_too(dock, viewer, picture, said, monkeypatch, until):
    def faulty(plane, settings, report):
        raise RuntimeError("a fault")

    monkeypatch.setattr(widget, "segment", faulty)
    # which raises in tests what a user gets as a notification with a traceback
    monkeypatch.setattr(
        notification_manager, "receive_error", lambda kind, error, trace: said.append(str(error))
    )
    viewer.add_image(picture)
    dock.segmenting.task.begin()
    until(lambda: said)
    assert said == ["a fault"]
    until(lambda: dock.segmenting.task.button.isEnabled())


def test_a_closed_widget_ends_its_work_and_hears_no_more(
    app, viewer, picture, monkeypatch, until, said
):
    seen = []

    def endless(plane, settings, report):
        try:
            while True:
                report(0, 0, "at work")
        finally:
            seen.append("ended")

    monkeypatch.setattr(widget, "segment", endless)
    layer = viewer.add_image(np.stack([picture] * 3))
    dock = widget.SegmentObjects(viewer)
    dock.segmenting.task.begin()
    until(lambda: dock.segmenting.task.status.text() == "at work")
    dock.deleteLater()
    app.sendPostedEvents(dock, QEvent.Type.DeferredDelete)
    until(lambda: seen)
    layer.name = "renamed"
    viewer.dims.set_current_step(0, 2)
    viewer.add_image(picture)
    assert said == []


def test_a_new_model_is_in_the_list(found, dock, viewer, monkeypatch, until, said, tmp_path):
    given = []

    def improve(plane, labels, choices, report):
        report(1, 2, "training")
        given.append((plane.name, labels.max(), choices))
        return tmp_path / "tiny"

    monkeypatch.setattr(widget, "improve", improve)
    tab = dock.improving
    tab.task.begin()
    assert "no folder is chosen" in said[-1]
    tab.folder.setText(str(tmp_path / "loop"))
    tab.task.begin()
    until(lambda: given and tab.task.worker is None)
    assert given[0][:2] == ("cells", found.layer.data.max())
    assert given[0][2].iterations == 100 and given[0][2].folder == tmp_path / "loop"
    assert dock.segmenting.model.count() == 3 and "the new model is" in said[-1]


def test_the_manifest(found, tmp_path):
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    plugins = PluginManager()
    plugins.register(manifest)
    assert [w.display_name for w in plugins.iter_widgets()] == ["Segment objects"]
    (contribution,) = manifest.contributions.readers
    assert contribution.filename_patterns == [f"*{reader.LABELS}", f"*{reader.CLASSES}"]
    found.save(tmp_path / "out")
    path = str(tmp_path / "out" / "cells.labels.tif")
    assert [r.plugin_name for r in plugins.iter_compatible_readers([path])] == ["maskrcnnpp"]
    assert not list(plugins.iter_compatible_readers([str(tmp_path / "cells.tif")]))
    viewer = ViewerModel()
    for data, about, kind in reader.get_reader(path)(path):
        layer = getattr(viewer, f"add_{kind}")(data, **about)
    assert np.array_equal(layer.data, found.layer.data)
    assert list(layer.features["score"]) == pytest.approx(list(found.layer.features["score"]))

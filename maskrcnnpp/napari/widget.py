"""The dock widget: a tab to find objects, a tab to improve a model, and layers in and out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import (
    show_error,
    show_info,
    show_warning,
)
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider
from superqt.utils import FunctionWorker

from maskrcnnpp.errors import OutputError, UserError
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.models import DEFAULT, shipped
from maskrcnnpp.napari.fields import ImageFields, LayerBox, Task, show
from maskrcnnpp.napari.improvement import Improvement, improve, usual_iterations
from maskrcnnpp.napari.planes import labels_of
from maskrcnnpp.napari.segmentation import (
    LOWEST,
    About,
    Result,
    Settings,
    corrected,
    describe,
    formats,
    segment,
)

if TYPE_CHECKING:
    import napari

_HORIZONTAL = Qt.Orientation.Horizontal
_DEBOUNCE = 200  # milliseconds that the score has to rest before objects are chosen anew
_USUAL_FORMATS = ("labels", "csv", "overlay")  # as of maskrcnnpp predict


def _description(name: str) -> tuple[str, About | Exception]:
    try:
        return name, describe(name)
    except Exception as error:
        return name, error


class SegmentTab(QWidget):
    """Choose an image and a model, find objects, move the threshold, save."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.result: Result | None = None
        self.layer: Any = None  #: that the result is shown in
        self._objects: Objects | None = None
        self._labels: np.ndarray | None = None  # as they were shown, before any correction
        form = QFormLayout()
        self.fields = ImageFields(viewer, form)
        self.model, browse = QComboBox(), QPushButton("Folder ...")
        self.model.setEditable(True)
        self.model.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.model.addItems(shipped())
        self.model.setCurrentText(DEFAULT)
        self.model.setToolTip("a name, or the folder, zip archive or address of a model")
        row = QHBoxLayout()
        row.addWidget(self.model, 1)
        row.addWidget(browse)
        form.addRow("Model", row)
        self.about = QLabel()
        self.about.setWordWrap(True)
        form.addRow(self.about)
        self.diameter = QDoubleSpinBox()
        self.diameter.setRange(0, 10_000)
        self.diameter.setSpecialValueText("estimated")
        self.diameter.setToolTip("median diameter of the objects in pixels; 0: estimated")
        form.addRow("Diameter", self.diameter)
        self.depth = QComboBox()
        self.depth.setToolTip("of the grid; smaller ones are faster, where they were trained")
        form.addRow("Depth", self.depth)
        self.tile_size = QSpinBox()
        self.tile_size.setRange(256, 16_384)
        self.tile_size.setSingleStep(256)
        self.tile_size.setValue(Settings.tile_size)
        form.addRow("Tile size", self.tile_size)
        self.score = QLabeledDoubleSlider()
        self.score.setOrientation(_HORIZONTAL)
        self.score.setRange(LOWEST, 1)
        self.score.setValue(0.5)
        self.score.setToolTip("can be moved afterwards: the model does not run again")
        form.addRow("Lowest score", self.score)
        self.task = Task("Find objects", self.start)
        self.count = QLabel()
        self.count.setWordWrap(True)
        self.formats = {name: QCheckBox(name) for name in formats(semantic=True)}
        self.save_as = QPushButton("Save as ...")
        grid = QGridLayout()
        for place, (name, box) in enumerate(self.formats.items()):
            box.setChecked(name in _USUAL_FORMATS)
            grid.addWidget(box, *divmod(place, 3))
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.task)
        layout.addWidget(self.count)
        layout.addLayout(grid)
        layout.addWidget(self.save_as)
        layout.addStretch()
        self._offer_formats()
        self._rest = QTimer(self, singleShot=True, interval=_DEBOUNCE)
        self._rest.timeout.connect(self.apply_score)
        self.score.valueChanged.connect(lambda: self._rest.start())
        self.model.currentIndexChanged.connect(self.describe)
        self.model.lineEdit().editingFinished.connect(self.describe)
        browse.clicked.connect(self._browse)
        self.save_as.clicked.connect(self._ask_folder)
        self._described = ""
        self.describe()

    def add_model(self, name: str) -> None:
        """Add a model to the list and choose it."""
        self.model.addItem(name)
        self.model.setCurrentIndex(self.model.count() - 1)

    def describe(self, *_: Any) -> None:
        """Say what the chosen model is for, and offer its depths."""
        name = self.model.currentText().strip()
        if name == self._described:
            return
        self._described = name
        self.about.setText("reading the model ...")
        self.depth.clear()
        worker = FunctionWorker(_description, name)
        worker.returned.connect(self._take_about)
        worker.start()

    def _take_about(self, found: tuple[str, About | Exception]) -> None:
        name, about = found
        if name != self._described:
            return  # another was chosen meanwhile
        if isinstance(about, Exception):
            self.about.setText("")
            self._described = ""  # so that it can be tried again
            return show(about)
        self.about.setText(f"{about.title}: {about.purpose}")
        self.depth.addItems([f"{about.depths[-1]} (full)"] if about.depths else ["-"])
        self.depth.addItems([str(depth) for depth in about.depths[-2::-1]])
        self.score.setValue(about.score)
        self._rest.stop()  # what is shown is of the model before
        return None

    def start(self) -> None:
        """Find the objects.

        Raises:
            UserError: something has to be chosen first.
        """
        plane = self.fields.plane()
        is_full = self.depth.currentIndex() <= 0
        settings = Settings(
            self.model.currentText().strip(),
            self.score.value(),
            self.diameter.value() or None,
            None if is_full else int(self.depth.currentText()),
            self.tile_size.value(),
        )
        self.task.run(partial(segment, plane, settings), self._take_result)

    def _take_result(self, result: Result) -> None:
        for text in result.warnings:
            show_warning(text)
        self.result, self.layer = result, None
        self._offer_formats()
        self.apply_score()

    def apply_score(self) -> None:
        """Show the objects from the chosen score on, without running the model."""
        if self.result is None:
            return
        if self._is_edited():
            show_warning(
                f"{self.layer.name} was corrected by hand and stays as it is: the objects of the "
                "new score are in a layer of their own"
            )
            self.layer = None
        self._objects = self.result.at(self.score.value())
        self._labels = self._objects.labels()
        table = self.result.table(self._objects)
        if self.layer is None or self.layer not in self._viewer.layers:
            plane = self.result.plane
            self.layer = self._viewer.add_labels(
                self._labels.copy(), name=f"objects of {plane.name}", features=table, **plane.place
            )
        else:
            self.layer.data = self._labels.copy()
            self.layer.features = table
        self.count.setText(
            f"{len(self._objects)} objects in the layer {self.layer.name}. Their table: Layers > "
            "Visualize > Features table widget"
        )

    def _is_edited(self) -> bool:
        return self.layer is not None and not np.array_equal(self.layer.data, self._labels)

    def save(self, folder: str | Path) -> None:
        """Write what is shown, corrections too, in the chosen formats.

        Args:
            folder: made as needed.
        """
        if self.result is None or self._objects is None:
            return show_error("there is nothing to save yet: find objects first")
        objects = self._objects
        if self._is_edited():
            objects = corrected(objects, np.asarray(self.layer.data))
        chosen = [name for name, box in self.formats.items() if box.isChecked() and box.isEnabled()]
        try:
            self.result.save(objects, self.score.value(), chosen, Path(folder))
        except (UserError, OSError) as error:
            return show(error)
        return show_info(f"{len(objects)} objects of {self.result.plane.name} are in {folder}")

    def _offer_formats(self) -> None:
        there = formats(semantic=self.result is not None and self.result.is_semantic)
        for name, box in self.formats.items():
            box.setEnabled(there.get(name, False))
            lacks = name in there and not there[name]
            box.setToolTip("pip install 'maskrcnnpp[outlines]'" if lacks else "")

    def _ask_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Save into the folder"):
            self.save(folder)

    def _browse(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of a model"):
            self.add_model(folder)


class ImproveTab(QWidget):
    """Train the chosen model on with labels that were corrected by hand."""

    def __init__(self, viewer: napari.Viewer, segmenting: SegmentTab) -> None:
        super().__init__()
        self._viewer, self._segmenting = viewer, segmenting
        form = QFormLayout()
        text = QLabel(
            "Correct the labels of an image with napari's brush, eraser and fill. Every object in "
            "the image has to be labelled: what is not counts as background."
        )
        text.setWordWrap(True)
        self.fields = ImageFields(viewer, form)
        self.labels = LayerBox(viewer, Labels)
        form.addRow("Labels", self.labels)
        self.folder, browse = QLineEdit(), QPushButton("...")
        self.folder.setToolTip(
            "takes the images and labels, the training and the new model; labels that were "
            "corrected in the same folder before are trained on too"
        )
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(browse)
        form.addRow("Folder", row)
        self.iterations = QSpinBox()
        self.iterations.setRange(1, 100_000)
        self.iterations.setValue(usual_iterations())
        form.addRow("Iterations", self.iterations)
        self.task = Task("Improve the model", self.start)
        layout = QVBoxLayout(self)
        layout.addWidget(text)
        layout.addLayout(form)
        layout.addWidget(self.task)
        layout.addStretch()
        browse.clicked.connect(self._browse)

    def start(self) -> None:
        """Train.

        Raises:
            UserError: something has to be chosen first.
        """
        plane = self.fields.plane()
        labels = labels_of(self.labels.layer, self._viewer.dims.point, plane)
        if not (folder := self.folder.text().strip()):
            raise OutputError("no folder is chosen: name one for the training and the new model")
        model = self._segmenting.model.currentText().strip()
        choices = Improvement(model, Path(folder), self.iterations.value())
        self.task.run(partial(improve, plane, labels, choices), self._take_model)

    def _take_model(self, folder: Path) -> None:
        self._segmenting.add_model(str(folder))
        show_info(f"the new model is {folder}; it is chosen under Segment")

    def _browse(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder for the training"):
            self.folder.setText(folder)


class SegmentObjects(QTabWidget):
    """The dock widget."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.segmenting = SegmentTab(napari_viewer)
        self.improving = ImproveTab(napari_viewer, self.segmenting)
        for tab, name in ((self.segmenting, "Segment"), (self.improving, "Improve")):
            area = QScrollArea()  # on a small screen
            area.setWidgetResizable(True)
            area.setWidget(tab)
            self.addTab(area, name)

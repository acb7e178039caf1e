"""The dock widget: fields, a thread for what takes long, and layers in and out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.notifications import (
    notification_manager,
    show_error,
    show_info,
    show_warning,
)
from qtpy.QtCore import QObject, Qt, QTimer, Signal
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
    QProgressBar,
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
from maskrcnnpp.napari.improvement import Improvement, improve, usual_iterations
from maskrcnnpp.napari.planes import channel_choices, labels_of, plane_of, says
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


class Cancelled(Exception):
    """The work was ended by its user."""


def show(error: BaseException) -> None:
    """An error as a notification: in words if the user can mend it, otherwise with its details."""
    if isinstance(error, UserError):
        show_error(str(error))
    elif isinstance(error, OSError):
        show_error(str(OutputError(f"{error.filename}: {error.strerror or error}")))
    elif not isinstance(error, Cancelled):
        notification_manager.receive_error(type(error), error, error.__traceback__)


class _Progress(QObject):
    """Signal of the progress of work, from its thread.

    It belongs to the work and not to the widget, which may be closed before: a signal of a deleted
    object ends the process.
    """

    reported = Signal(int, int, str)


class Task(QWidget):
    """One function at a time in a thread: a button to start it, a bar, a button to cancel."""

    def __init__(self, text: str, start: Callable[[], None]) -> None:
        """
        Args:
            text: of the button.
            start: called by it; an error of the user in it is shown.
        """
        super().__init__()
        self.worker: FunctionWorker | None = None
        self._start = start
        self.button, self.cancel = QPushButton(text), QPushButton("Cancel")
        self.bar, self.status = QProgressBar(), QLabel()
        self.status.setWordWrap(True)
        buttons = QHBoxLayout()
        buttons.addWidget(self.button, 2)
        buttons.addWidget(self.cancel, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        self.bar.hide()
        self.cancel.setEnabled(False)
        self.button.clicked.connect(self.begin)
        self.cancel.clicked.connect(self.stop)

    def begin(self) -> None:
        try:
            self._start()
        except (UserError, OSError) as error:
            show(error)

    def stop(self) -> None:
        """Ask the work to end, which it does at its next report."""
        if self.worker is not None:
            self.worker.quit()
            self.status.setText("stopping after the step that is at work ...")

    def run(self, work: Callable[..., Any], done: Callable[[Any], None]) -> None:
        """Run ``work(..., report)`` in a thread, and ``done(what it returns)`` here."""
        progress = _Progress()
        progress.reported.connect(self._show_progress)

        def report(done: int, count: int, text: str) -> None:
            if worker.abort_requested:
                raise Cancelled
            progress.reported.emit(done, count, text)

        worker = FunctionWorker(work, report)
        self.worker = worker
        worker.returned.connect(done)
        worker.errored.connect(show)
        worker.finished.connect(self._end)
        # the widget may be closed before the work has ended
        self.destroyed.connect(lambda *_: worker.quit())
        self.button.setEnabled(False)
        self.cancel.setEnabled(True)
        self._show_progress(0, 0, "starting")
        self.bar.show()
        worker.start()

    def _show_progress(self, done: int, count: int, text: str) -> None:
        self.bar.setRange(0, count if count > 1 else 0)  # 0: busy
        self.bar.setValue(done)
        self.status.setText(f"{text}: {done} of {count}" if count > 1 else text)

    def _end(self) -> None:
        was_cancelled = self.worker is not None and self.worker.abort_requested
        self.worker = None
        self.button.setEnabled(True)
        self.cancel.setEnabled(False)
        self.bar.hide()
        self.status.setText("cancelled" if was_cancelled else "")


class LayerBox(QComboBox):
    """The layers of a kind that a viewer has."""

    def __init__(self, viewer: napari.Viewer, kind: type) -> None:
        super().__init__()
        self._viewer, self._kind = viewer, kind
        self._emitters: list[Any] = []
        for event in ("inserted", "removed", "reordered"):
            self._follow(getattr(viewer.layers.events, event))
        self._refresh()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.currentData()

    def choose(self, layer: Any) -> None:
        self.setCurrentIndex(self._index(layer))

    def _follow(self, emitter: Any) -> None:
        """Refresh at each of its events, as long as Qt has this box."""
        if emitter not in self._emitters:
            self._emitters.append(emitter)
            emitter.connect(self._refresh)
            self.destroyed.connect(lambda *_: emitter.disconnect(self._refresh))

    def _index(self, layer: Any) -> int:
        return next((k for k in range(self.count()) if self.itemData(k) is layer), -1)

    def _refresh(self, event: Any = None) -> None:
        before = self.layer
        self.blockSignals(True)
        self.clear()
        for layer in self._viewer.layers:
            if isinstance(layer, self._kind):
                self.addItem(layer.name, layer)
                self._follow(layer.events.name)
        index = self._index(before)
        # a new one is chosen where there was none
        self.setCurrentIndex(index if index >= 0 else self.count() - 1)
        self.blockSignals(False)
        if self.layer is not before:
            self.currentIndexChanged.emit(self.currentIndex())


class ImageFields:
    """The rows of a form for an image and its channels."""

    def __init__(self, viewer: napari.Viewer, form: QFormLayout) -> None:
        self._viewer = viewer
        self.image, self.channels, self.note = LayerBox(viewer, Image), QComboBox(), QLabel()
        self.note.setWordWrap(True)
        form.addRow("Image", self.image)
        form.addRow("Channels", self.channels)
        form.addRow(self.note)
        self.image.currentIndexChanged.connect(self._offer_channels)
        moved = viewer.dims.events.point
        moved.connect(self._say)
        self.image.destroyed.connect(lambda *_: moved.disconnect(self._say))
        self._offer_channels()

    def plane(self) -> Any:
        """See :func:`maskrcnnpp.napari.planes.plane_of`."""
        return plane_of(self.image.layer, self._viewer.dims.point, self.channels.currentText())

    def _offer_channels(self, index: int = 0) -> None:
        self.channels.clear()
        if (layer := self.image.layer) is not None:
            self.channels.addItems(channel_choices(layer))
        self._say()

    def _say(self, event: Any = None) -> None:
        layer = self.image.layer
        try:
            text = says(layer, self._viewer.dims.point) if layer is not None else ""
        except UserError as error:
            text = str(error)
        self.note.setText(text)
        self.note.setVisible(bool(text))


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

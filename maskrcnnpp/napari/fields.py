"""Parts of the dock widget: a task in a thread, and the rows for an image and its channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import (
    notification_manager,
    show_error,
)
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import FunctionWorker

from maskrcnnpp.errors import OutputError, UserError
from maskrcnnpp.napari.planes import channel_choices, plane_of, says

if TYPE_CHECKING:
    import napari


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

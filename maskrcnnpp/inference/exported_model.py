"""Models that were exported to a file, and run without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from maskrcnnpp.environment import cores
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.images.intensity import ModelInput
from maskrcnnpp.inference.backend import Backend, Found, Trained
from maskrcnnpp.inference.naming import Naming, naming_of
from maskrcnnpp.inference.options import PRECISIONS, Options
from maskrcnnpp.inference.record import digest
from maskrcnnpp.inference.session import Session

_OUTPUTS = ("boxes", "scores", "classes", "masks", "box_scores")


class ExportedBackend(Backend):
    """A session."""

    model: Session

    def __init__(self, session: Session) -> None:
        self.model = session

    def norms_of_image(self) -> list[str]:
        return list(self.model.about["norms_of_image"])

    def objects(self, images: Sequence[np.ndarray], score_threshold: float) -> list[Found]:
        if len({image.shape for image in images}) > 1:  # a batch is of one size
            return [found for x in images for found in self.objects([x], score_threshold)]
        outputs = self.model(np.stack(images), score_threshold)
        found = []
        for index, image in enumerate(images):
            (places,) = np.nonzero(outputs["image_indices"] == index)
            places = places[np.argsort(-outputs["scores"][places], kind="stable")]
            arrays = (outputs[name][places] for name in _OUTPUTS if name in outputs)
            found.append(Found(*image.shape[1:], *arrays))
        return found

    def probabilities(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        if len({image.shape for image in images}) > 1:
            return [values for x in images for values in self.probabilities([x])]
        return list(self.model(np.stack(images))["probabilities"])


def trained_of_file(
    path: Path, runtime: str | None = None, classes: Sequence[str] | None = None
) -> Trained:
    """An exported model.

    Args:
        path: of the file.
        runtime: a key of :data:`maskrcnnpp.inference.session.READS`; None: that of its format.
        classes: names that the model's card has. Default: those in the file.

    Raises:
        ConfigError: see :class:`Session`.
    """
    session = Session(path, runtime=runtime, threads=_threads())
    about = session.about
    names = list(classes or about["class_names"])

    def naming(annotations: str | os.PathLike | None = None) -> Naming:
        return naming_of(names, about["class_ids"], annotations)

    return Trained(
        backend=session.runtime,
        is_semantic=about["task"] == "semantic",
        model_input=ModelInput(
            about["channels"], about["channel_order"], tuple(about["percentiles"])
        ),
        channels=about["channels_of_file"],
        scale=about["scale"],
        detection_limit=about.get("detections_per_image"),
        find_objects=about.get("objects"),
        load=partial(_load, session),
        naming=naming,
        settings=lambda: {
            "backend": session.runtime,
            "config": about["config_digest"],
            "weights": digest(path),
        },
    )


def _threads() -> int:
    """As many as PyTorch and NumPy take: runtimes look at the cores of the machine only; 0: all."""
    if (wanted := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        return int(wanted)
    return cores() if cores() < (os.cpu_count() or 1) else 0


def _load(session: Session, options: Options) -> ExportedBackend:
    if options.precision != PRECISIONS[0]:
        raise ConfigError(
            f"precision is {options.precision}, and exported models compute in {PRECISIONS[0]}: "
            "leave it out, or choose the backend torch"
        )
    return ExportedBackend(session)

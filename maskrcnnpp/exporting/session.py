"""An exported model, called with arrays."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.exporting.formats import ABOUT, ABOUT_ENTRY, check_format, format_of

Arrays = dict[str, np.ndarray]


class Session:
    """A model of :func:`maskrcnnpp.exporting.export_model` on the CPU.

    Attributes:
        about: what the file says of itself; see docs/how-to/export.md.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int = 0) -> None:
        """
        Args:
            path: of the file.
            threads: that it may use; 0: as many as the runtime likes. TorchScript uses those of
                PyTorch.

        Raises:
            ConfigError: it is not an exported model, or its runtime is not installed.
        """
        path = Path(path)
        name = format_of(path)
        check_format(name, is_written=False)
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file")
        try:
            self._run, about = _OPEN[name](path, threads)
            self.about: Mapping[str, Any] = json.loads(about)
        except Exception as error:  # each runtime has its own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"{path} is not an exported model of maskrcnnpp: {reason}") from error

    def __call__(self, images: np.ndarray, score_threshold: float = 0.0) -> Arrays:
        """
        Args:
            images: (N, channels, H, W), 0..255, in the order that ``about`` says.
            score_threshold: objects below are left out, beside those that the model leaves out;
                a semantic model has none.

        Returns:
            ``boxes``, ``scores``, ``classes``, ``masks`` and ``image_indices``, or
            ``probabilities``: see :mod:`maskrcnnpp.exporting.graphs`.
        """
        inputs = {"images": np.ascontiguousarray(images, dtype=np.float32)}
        if self.about["task"] == "objects":
            inputs["score_threshold"] = np.array(score_threshold, dtype=np.float32)
        return dict(zip(self.about["outputs"], self._run(inputs)))


Run = Callable[[Arrays], list[np.ndarray]]


def _open_onnx(path: Path, threads: int) -> tuple[Run, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map[ABOUT]
    return lambda inputs: session.run(None, inputs), about


def _open_openvino(path: Path, threads: int) -> tuple[Run, str]:
    import openvino

    model = openvino.Core().read_model(path)
    about = model.get_rt_info(ABOUT).astype(str)
    # OpenVINO takes bfloat16 where the processor has it
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.compile_model(model, "CPU", settings)

    def run(inputs: Arrays) -> list[np.ndarray]:
        found = compiled(inputs)
        return [np.array(found[index]) for index in range(len(compiled.outputs))]

    return run, about


def _open_torchscript(path: Path, threads: int) -> tuple[Run, str]:
    import torch
    import torchvision  # noqa: F401  # its operators

    entries = {ABOUT_ENTRY: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch, that it favours torch.export
        model = torch.jit.load(str(path), map_location="cpu", _extra_files=entries)

    def run(inputs: Arrays) -> list[np.ndarray]:
        # the profiling executor compiles anew for each size and number of objects
        with torch.no_grad(), torch.jit.optimized_execution(False):
            found = model(*map(torch.from_numpy, inputs.values()))
        return [x.numpy() for x in (found if isinstance(found, tuple) else (found,))]

    return run, entries[ABOUT_ENTRY]


_OPEN = {"onnx": _open_onnx, "openvino": _open_openvino, "torchscript": _open_torchscript}

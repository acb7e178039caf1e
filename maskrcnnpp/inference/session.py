"""An exported model, called with arrays: a file of ONNX, TorchScript or OpenVINO."""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.errors import ConfigError, first_line

#: Of what a file says of itself: raised when a runtime has to read it otherwise.
ABOUT_VERSION = 1
#: Name under which a file keeps what a runtime has to know of the model, as JSON.
ABOUT = "maskrcnnpp"
#: Entry of a TorchScript archive with the same.
ABOUT_ENTRY = f"{ABOUT}.json"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: of the file.
        runtime: package that runs it.
        writers: packages that writing it needs beside.
        extra: of this project's that installs them.
    """

    suffix: str
    runtime: str = "torchvision"
    writers: tuple[str, ...] = ()
    extra: str = "train"


FORMATS = {
    "onnx": Format(".onnx", "onnxruntime", ("onnx",), "export"),
    "torchscript": Format(".ts"),
    "openvino": Format(".xml", "openvino", ("onnx",), "openvino"),  # its weights are beside: .bin
}
#: Endings of the files that each runtime reads.
READS = {"onnx": (".onnx",), "torchscript": (".ts",), "openvino": (".xml", ".onnx")}


def format_of(path: Path) -> str:
    """Name of the format of a file, by its suffix.

    Raises:
        ConfigError: it is none.
    """
    for name, about in FORMATS.items():
        if path.suffix == about.suffix:
            return name
    suffixes = ", ".join(about.suffix for about in FORMATS.values())
    raise ConfigError(f"{path} is not an exported model: their names end in {suffixes}")


def check_format(name: str, *, is_written: bool) -> None:
    """Check that there is such a format, and that what it needs is installed.

    Args:
        is_written: to write it, and not only to run it.

    Raises:
        ConfigError: it is not; the message names the pip command.
    """
    if name not in FORMATS:
        raise ConfigError(f"the format is {name!r}; it can be one of {list(FORMATS)}")
    about = FORMATS[name]
    needed = (*about.writers, about.runtime) if is_written else (about.runtime,)
    for package in needed:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ConfigError(
                f"the format {name} needs {' and '.join(needed)}, and {package} cannot be "
                f"imported ({first_line(error)}): pip install 'maskrcnnpp[{about.extra}]'"
            ) from error


class Session:
    """A model of :func:`maskrcnnpp.exporting.export_model` on the CPU.

    Attributes:
        about: what the file says of itself; see docs/how-to/export.md.
        runtime: that runs it, a key of :data:`READS`.
    """

    def __init__(
        self, path: str | os.PathLike, *, threads: int = 0, runtime: str | None = None
    ) -> None:
        """
        Args:
            path: of the file.
            threads: that it may use; 0: as many as the runtime likes. TorchScript uses those of
                PyTorch.
            runtime: a key of :data:`READS`. Default: that of the file's format; OpenVINO reads
                ONNX too.

        Raises:
            ConfigError: it is not an exported model or of another version, or its runtime is not
                installed.
        """
        path = Path(path)
        self.runtime = runtime or format_of(path)
        if path.suffix not in READS[self.runtime]:
            raise ConfigError(
                f"{path} cannot be run by {FORMATS[self.runtime].runtime}, whose files end in "
                f"{' or '.join(READS[self.runtime])}"
            )
        check_format(self.runtime, is_written=False)
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file")
        try:
            self._run, about = _OPEN[self.runtime](path, threads)
            self.about: Mapping[str, Any] = dict(json.loads(about))
        except Exception as error:  # each runtime has its own
            package = FORMATS[self.runtime].runtime
            raise ConfigError(
                f"{path} is not an exported model of maskrcnnpp, or {package} is too old for it or "
                f"for this processor: {first_line(error)}; export it again, or pip install "
                f"--upgrade {package}"
            ) from error
        if self.about.get("about_version") != ABOUT_VERSION:
            raise ConfigError(
                f"{path} is of maskrcnnpp {self.about.get('maskrcnnpp')} and describes itself in "
                f"version {self.about.get('about_version')}; this one reads {ABOUT_VERSION}: "
                "export the model again, or install the version that it is of"
            )

    def __call__(self, images: np.ndarray, score_threshold: float = 0.0) -> Arrays:
        """
        Args:
            images: (N, channels, H, W), 0..255, in the order that ``about`` says.
            score_threshold: objects below are left out, beside those that the model leaves out;
                a semantic model has none.

        Returns:
            ``boxes``, ``scores``, ``classes``, ``masks`` and ``image_indices``, or
            ``probabilities``: see :mod:`maskrcnnpp.exporting.graphs`.

        Raises:
            MemoryError: there is too little memory.
        """
        inputs = {"images": np.ascontiguousarray(images, dtype=np.float32)}
        if self.about["task"] == "objects":
            inputs["score_threshold"] = np.array(score_threshold, dtype=np.float32)
        try:
            outputs = self._run(inputs)
        except Exception as error:  # each runtime has its own, none of which is a MemoryError
            if "alloc" in str(error):
                raise MemoryError(first_line(error)) from error
            raise
        return dict(zip(self.about["outputs"], outputs))


Run = Callable[[Arrays], list[np.ndarray]]


def _open_onnx(path: Path, threads: int) -> tuple[Run, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        os.fspath(path), options, providers=["CPUExecutionProvider"]
    )
    about = session.get_modelmeta().custom_metadata_map[ABOUT]
    return lambda inputs: session.run(None, inputs), about


def _open_openvino(path: Path, threads: int) -> tuple[Run, str]:
    import openvino

    model = openvino.Core().read_model(path)
    # of an ONNX file OpenVINO keeps the metadata one level below
    about = model.get_rt_info(ABOUT if path.suffix == ".xml" else ["framework", ABOUT]).astype(str)
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

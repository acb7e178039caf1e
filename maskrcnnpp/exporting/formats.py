"""Files that an exported model can be, and how each is written."""

from __future__ import annotations

import importlib
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.exporting.graphs import DetectorGraph, SemanticGraph

#: Name under which a file keeps what a runtime has to know of the model, as JSON.
ABOUT = "maskrcnnpp"
#: Entry of a TorchScript archive with the same.
ABOUT_ENTRY = f"{ABOUT}.json"
_OPSET = 18  # the oldest with all that the graphs use; runtimes of 2023 and later have it


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
    extra: str = "torch"


FORMATS = {
    "onnx": Format(".onnx", "onnxruntime", ("onnx",), "export"),
    "torchscript": Format(".ts"),
    "openvino": Format(".xml", "openvino", ("onnx",), "openvino"),  # its weights are beside: .bin
}


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
                f"imported ({error}): pip install 'maskrcnnpp[{about.extra}]'"
            ) from error


def target_file(output: Path, name: str) -> Path:
    """The file that is written: ``output``, or ``model`` in it where it is a folder.

    Raises:
        ConfigError: the name of the file does not fit the format.
    """
    suffix = FORMATS[name].suffix
    if output.is_dir() or not output.suffix:
        return output / f"model{suffix}"
    if output.suffix != suffix:
        raise ConfigError(
            f"{output} is to be a model in the format {name}, whose files end in {suffix}: rename "
            "it, or name a folder"
        )
    return output


def write(
    graph: DetectorGraph | SemanticGraph,
    example: tuple[torch.Tensor, ...],
    name: str,
    path: Path,
    about: Mapping[str, Any],
) -> None:
    """Write a model.

    Args:
        graph: in evaluation mode, on the CPU.
        example: that it is traced with.
        name: of the format.
        path: of the file, in a folder of its own: of some formats there are others beside it.
        about: what a runtime has to know, to be kept in the file.
    """
    text = json.dumps(about)
    with warnings.catch_warnings(), torch.no_grad():
        # of what may depend on the example: export_model tries the file with another one
        warnings.simplefilter("ignore")
        if name == "torchscript":
            traced = torch.jit.trace(graph, example, check_trace=False)
            traced.save(str(path), _extra_files={ABOUT_ENTRY: text})
        elif name == "onnx":
            _write_onnx(graph, example, path, text)
        else:
            _write_openvino(graph, example, path, text)


def _write_onnx(
    graph: DetectorGraph | SemanticGraph, example: tuple[torch.Tensor, ...], path: Path, text: str
) -> None:
    import onnx

    free = {"images": {0: "batch", 2: "height", 3: "width"}}
    if isinstance(graph, DetectorGraph):
        free |= {name: {0: "objects"} for name in graph.outputs}
    else:
        free |= {name: {0: "batch", 2: "height", 3: "width"} for name in graph.outputs}
    torch.onnx.export(
        graph,
        example,
        str(path),
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_axes=free,
        opset_version=_OPSET,
        dynamo=False,  # torchvision has its operators, and exact NMS is a symbolic, of this one
    )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {ABOUT: text})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _write_openvino(
    graph: DetectorGraph | SemanticGraph, example: tuple[torch.Tensor, ...], path: Path, text: str
) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder, "model.onnx")
        _write_onnx(graph, example, between, text)
        model = openvino.convert_model(between)
        model.set_rt_info(text, ABOUT)
        openvino.save_model(model, path, compress_to_fp16=False)

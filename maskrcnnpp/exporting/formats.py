"""How each of the files that an exported model can be is written."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.exporting.graphs import DetectorGraph, SemanticGraph
from maskrcnnpp.inference.session import ABOUT, ABOUT_ENTRY, FORMATS

if TYPE_CHECKING:
    import onnx

_OPSET = 18  # the oldest with all that the graphs use; runtimes of 2023 and later have it
_SMALL = 1024  # values of a weight that is left as it is


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

    is_half = all(_is_half(x.numpy()) for x in graph.parameters() if x.dim() > 1)
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
        # halves stay as they are: runtimes fold norms into convolutions when they load them
        training=torch.onnx.TrainingMode.PRESERVE if is_half else torch.onnx.TrainingMode.EVAL,
        do_constant_folding=not is_half,
    )
    model = onnx.load(str(path))
    if is_half:
        _name_once(model)
        _halve(model)
    onnx.helper.set_model_props(model, {ABOUT: text})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _is_half(values: np.ndarray) -> bool:
    """Whether half precision changes none of the values, as of a packed model."""
    with np.errstate(over="ignore"):
        return values.dtype == np.float32 and bool((values.astype(np.float16) == values).all())


def _name_once(model: onnx.ModelProto) -> None:
    """Take equal weights from one place, and not as copies, which onnxruntime loses sight of."""
    weights = {weight.name for weight in model.graph.initializer}
    nodes, names = [], {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        if node.op_type == "Identity" and node.input[0] in weights:
            names[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _halve(model: onnx.ModelProto) -> None:
    """Store weights in half precision where that changes none of them.

    Runtimes compute with what they are converted to when they are loaded, in single precision.
    """
    import onnx

    nodes = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.size >= _SMALL and _is_half(values):
            name, halves = weight.name, values.astype(np.float16)
            weight.CopyFrom(onnx.numpy_helper.from_array(halves, f"{name} (half)"))
            nodes.append(onnx.helper.make_node("Cast", [weight.name], [name], to=1))  # float32
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)


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

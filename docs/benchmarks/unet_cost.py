#!/usr/bin/env python
"""Measure UNet++ at the papers' filters beside MONAI's and segmentation-models-pytorch's.

    pip install monai segmentation-models-pytorch
    python docs/benchmarks/unet_cost.py

writes unet_cost.json and unet_cost.md beside this file: time and time for a billion multiply-adds,
forward and training step, and whether a shallower depth is faster by as much as it computes less.
All get the same images and loss; models alternate round by round, in one process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from maskrcnnpp.benchmark.record import measure_and_draw, origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.engine import build_config
from maskrcnnpp.modeling.pruning import pruned_config
from maskrcnnpp.modeling.speed import apply_memory_format_and_compile

RECORD, PAGE = record_files(__file__)
CONFIG = "configs/semantic/unetpp_ds.yaml"
GREY = ["MODEL.PIXEL_MEAN", "[0.0]", "MODEL.PIXEL_STD", "[1.0]", "INPUT.FORMAT", "L"]
#: Side of the images, how many at a time, and rounds.
SIZES = {96: (8, 11), 512: (1, 5)}
WARM_UP = 2
OURS = "maskrcnnpp"


class Outputs(nn.Module):
    """A network of this project as the peers' are: images in, logits of every head out."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        cfg = build_config(CONFIG, GREY)
        cfg = pruned_config(cfg, depth) if depth < 4 else cfg
        model = apply_memory_format_and_compile(build_model(cfg), cfg)
        self.backbone, self.head = model.backbone, model.sem_seg_head

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = self.backbone(x)
        return [
            self.head.get_submodule(f"predictor_{name.rpartition('_')[2]}")(feature)
            for name, feature in features.items()
        ]


def monai_network() -> nn.Module:
    from monai.networks.nets import BasicUNetPlusPlus

    return BasicUNetPlusPlus(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        features=(32, 64, 128, 256, 512, 32),
        deep_supervision=True,
        act=("relu", {}),
        norm=None,
    )


def smp_network() -> nn.Module:
    from segmentation_models_pytorch import UnetPlusPlus

    return UnetPlusPlus("resnet34", encoder_weights=None, in_channels=1, classes=1)


PEERS: dict[str, Callable[[], nn.Module]] = {
    "monai BasicUNetPlusPlus": monai_network,
    "segmentation-models-pytorch UnetPlusPlus, ResNet-34": smp_network,
}


def networks() -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {f"{OURS} L{depth}": Outputs(depth) for depth in (4, 3, 2, 1)}
    found[f"{OURS} L4, channels first"] = Outputs(4).to(memory_format=torch.contiguous_format)
    for name, make in PEERS.items():
        found[name] = make()
        found[f"{name}, channels last"] = make().to(memory_format=torch.channels_last)
    return found


def as_list(outputs: Any) -> list[torch.Tensor]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def predict(model: nn.Module, images: torch.Tensor, truth: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad():
        model(images)


def learn(model: nn.Module, images: torch.Tensor, truth: torch.Tensor) -> None:
    """Forward, backward and a step of plain gradient descent of rate 0."""
    model.train()
    outputs = as_list(model(images))
    sum(F.binary_cross_entropy_with_logits(x, truth) for x in outputs).backward()
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.data.add_(parameter.grad, alpha=0.0)
            parameter.grad = None


WORK: dict[str, Callable[..., None]] = {"forward": predict, "training step": learn}


def multiply_adds(work: Callable[..., None], *arguments: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        work(*arguments)
    return counter.get_total_flops() // 2


def measure(models: Mapping[str, nn.Module], size: int) -> list[dict[str, Any]]:
    batch, rounds = SIZES[size]
    images = torch.rand(batch, 1, size, size)
    truth = (torch.rand_like(images) > 0.5).float()
    rows = []
    for name, work in WORK.items():
        taken: dict[str, list[float]] = {model: [] for model in models}
        for _ in tqdm(range(WARM_UP + rounds), desc=f"{size}x{size}, {name}"):
            for model in models:
                begin = time.perf_counter()
                work(models[model], images, truth)
                taken[model].append(time.perf_counter() - begin)
        for model, seconds in taken.items():
            seconds = seconds[WARM_UP:]
            low, middle, high = statistics.quantiles(seconds, n=4)
            rows.append(
                {
                    "size": size,
                    "images": batch,
                    "rounds": rounds,
                    "work": name,
                    "model": model,
                    "milliseconds": round(1000 * middle, 2),
                    "quartiles": [round(1000 * low, 2), round(1000 * high, 2)],
                    "multiply_adds": multiply_adds(work, models[model], images, truth),
                }
            )
    return rows


def measure_all() -> dict[str, Any]:
    torch.manual_seed(0)
    models = networks()
    packages = [name.split()[0] for name in PEERS]
    return {
        "parameters": {n: sum(p.numel() for p in m.parameters()) for n, m in models.items()},
        "rows": [row for size in SIZES for row in measure(models, size)],
        "threads": torch.get_num_threads(),
        **origin(*packages),
    }


def per_billion(row: Mapping[str, Any]) -> float:
    return row["milliseconds"] / (row["multiply_adds"] / 1e9)


def has_channels_last(row: Mapping[str, Any]) -> bool:
    """Ours have them last unless their name says otherwise, the peers the other way round."""
    name = row["model"]
    return not name.endswith("first") if name.startswith(OURS) else name.endswith("last")


def best_peer(rows: Sequence[Mapping[str, Any]], channels_last: bool) -> float:
    """Milliseconds for a billion multiply-adds, of those with the channels in that place."""
    peers = [row for row in rows if not row["model"].startswith(OURS)]
    return min(per_billion(row) for row in peers if has_channels_last(row) == channels_last)


def table(found: Mapping[str, Any], size: int, work: str) -> str:
    rows = [r for r in found["rows"] if (r["size"], r["work"]) == (size, work)]
    full = next(r for r in rows if r["model"] == f"{OURS} L4")
    lines = []
    for row in rows:
        low, high = row["quartiles"]
        line = [
            row["model"],
            f"{found['parameters'][row['model']] / 1e6:.2f}",
            f"{row['multiply_adds'] / 1e9:.2f}",
            f"{row['milliseconds']:.1f} ({low:.1f} to {high:.1f})",
            f"{per_billion(row):.2f}",
            f"{per_billion(row) / best_peer(rows, has_channels_last(row)):.2f}",
        ]
        is_ours = row["model"] in [f"{OURS} L{depth}" for depth in (4, 3, 2, 1)]
        line += [
            f"{row['multiply_adds'] / full['multiply_adds']:.3f}" if is_ours else "",
            f"{row['milliseconds'] / full['milliseconds']:.3f}" if is_ours else "",
        ]
        lines.append(line)
    headers = ["network", "M parameters", "G multiply-adds", "ms (quartiles)"]
    headers += ["ms a G", "of the better peer's", "multiply-adds of L4's", "ms of L4's"]
    return markdown_table(headers, lines)


def page(found: Mapping[str, Any]) -> str:
    lines = [
        "# UNet++ beside MONAI's and segmentation-models-pytorch's",
        "",
        "The papers' filters, one grey channel, one class, no normalization; four heads in",
        "training, one at inference, where MONAI's computes all four. L1 to L3 are cuts with one",
        f"head. {found['threads']} threads, models in turn round by round. That of",
        "segmentation-models-pytorch has another encoder, with normalization: compare its time",
        "for as many multiply-adds. Ours have the channels last, as their configs say",
        "(`MODEL.CHANNELS_LAST`); so can the peers, by one call. A row is compared with the better",
        "peer that has its channels in the same place. Written by",
        "`python docs/benchmarks/unet_cost.py`.",
        "",
    ]
    for size, (batch, rounds) in SIZES.items():
        for work in WORK:
            images = f"{batch} image{'s' * (batch > 1)} of {size}x{size}"
            lines += [f"## {work.capitalize()}, {images}, {rounds} rounds", ""]
            lines += [table(found, size, work), ""]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure_all, page)

"""Costs of a model: parameters, FLOPs, latency by stage, memory, training time."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.modeling import build_model
from detectron2.utils.analysis import FlopCountAnalysis
from detectron2.utils.events import EventStorage
from torch import nn
from tqdm import tqdm

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.engine.progress import process_peak
from maskrcnnpp.engine.trainer import Trainer
from maskrcnnpp.modeling.checkpoint import Checkpointer
from maskrcnnpp.modeling.speed import apply_memory_format_and_compile

#: Parts of a Mask R-CNN by the beginning of their modules' names; the first that fits counts.
PARTS = {
    "encoder": ("backbone.bottom_up",),
    "pyramid": ("backbone",),
    "RPN": ("proposal_generator",),
    "box head": ("roi_heads.box",),
    "mask head": ("roi_heads.mask",),
    "segmentation head": ("sem_seg_head",),
}
#: What is left of a forward pass: the image normalised and padded, the masks pasted into it.
AROUND = "before and after"
STAGES = (*PARTS, AROUND)

Batch = list[dict[str, Any]]


@dataclass(frozen=True)
class Arm:
    """A trained model whose cost is measured."""

    name: str
    config_file: str
    weights: str


def part_of(module_name: str) -> str | None:
    """The part that a module belongs to, or None."""
    for part, beginnings in PARTS.items():
        if module_name.startswith(beginnings):
            return part
    return None


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Parameters by part, and their ``total``."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[part_of(name) or "other"] += parameter.numel()
    return {**counts, "total": sum(counts.values())}


def count_flops(model: nn.Module, image: torch.Tensor) -> dict[str, float]:
    """Multiply-adds of one image by part and in ``total``, as fvcore counts them.

    Those of the heads depend on how many proposals and detections the image has. RoIAlign and
    NMS are not counted.

    Args:
        image: (3, H, W), as the model's data set dicts hold it.
    """
    analysis = FlopCountAnalysis(model.eval(), [{"image": image}])
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    counts = analysis.by_module()
    flops = dict.fromkeys(PARTS, 0.0)
    for name, count in counts.items():
        part = part_of(name.removeprefix("model."))  # Detectron2 traces it inside a wrapper
        if part:
            # a module's count holds its children's
            flops[part] += count - sum(n for child, n in counts.items() if _parent(child) == name)
    return {**flops, "total": float(analysis.total())}


def _parent(module_name: str) -> str:
    return module_name.rpartition(".")[0]


@contextmanager
def stage_times(
    model: nn.Module, clock: Callable[[], float] | None = None
) -> Iterator[dict[str, float]]:
    """Seconds that each of :data:`STAGES` takes while the context is open, summed.

    Args:
        clock: seconds of what counts; default is the time that passes.
    """
    seconds: dict[str, float] = defaultdict(float)
    handles = []
    clock = clock or _clock(model)

    def watch(module: nn.Module | None, sign: dict[str, int]) -> None:
        if module is None:
            return
        began: list[float] = []

        def end(*_: Any) -> None:
            spent = clock() - began.pop()
            for stage, factor in sign.items():
                seconds[stage] += factor * spent

        handles.append(module.register_forward_pre_hook(lambda *_: began.append(clock())))
        handles.append(module.register_forward_hook(end))

    # a stage inside another is taken off it
    watch(getattr(model.backbone, "bottom_up", None), {"encoder": 1, "pyramid": -1})
    watch(model.backbone, {"pyramid": 1, AROUND: -1})
    watch(getattr(model, "sem_seg_head", None), {"segmentation head": 1, AROUND: -1})
    watch(getattr(model, "proposal_generator", None), {"RPN": 1, AROUND: -1})
    roi_heads = getattr(model, "roi_heads", None)
    watch(roi_heads, {"box head": 1, AROUND: -1})
    for name, module in roi_heads.named_children() if roi_heads else ():
        if name.startswith("mask"):
            watch(module, {"mask head": 1, "box head": -1})
    began = clock()
    try:
        yield seconds
        seconds[AROUND] += clock() - began
        seconds["total"] = clock() - began
    finally:
        for handle in handles:
            handle.remove()


def measure_latency(
    models: Mapping[str, nn.Module],
    images: Sequence[Batch],
    *,
    warm_up: int = 2,
    clock: Callable[[], float] | None = None,
) -> dict[str, dict[str, list[float]]]:
    """Seconds an image by arm and stage: median, first and third quartile.

    The arms alternate image by image and take turns in going first, so that what else the machine
    does meets them all.

    Args:
        clock: see :func:`stage_times`.
    """
    taken: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in models}
    names = list(models)
    for model in models.values():
        model.eval()
    warming = images[:warm_up]
    for index, image in enumerate(tqdm([*warming, *images], desc="latency", unit="image")):
        turn = index % len(names)
        for name in [*names[turn:], *names[:turn]]:
            with torch.no_grad(), stage_times(models[name], clock) as seconds:
                models[name](image)
            if index >= len(warming):
                for stage, value in seconds.items():
                    taken[name][stage].append(value)
    return {
        name: {stage: _quartiles(values) for stage, values in stages.items()}
        for name, stages in taken.items()
    }


def measure_training(
    arms: Sequence[Arm], batches: Mapping[str, Sequence[Batch]], *, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of a training iteration (forward, backward, step; no loading) by arm.

    Detectron2's own training step, mixed precision where the config asks for it; arms alternate.
    The learning rate is 0: the weights stay as they were trained.

    Args:
        arms: trained models.
        batches: for each arm as many, of the same images with the truth that it learns from.
        warm_up: iterations before the first that counts.

    Returns:
        Median, first and third quartile.
    """
    steps: dict[str, SimpleTrainer] = {}
    clocks: dict[str, Callable[[], float]] = {}
    for arm in arms:
        cfg = build_config(arm.config_file)
        model = load_model(cfg, arm.weights).train()
        optimizer = Trainer.build_optimizer(cfg, model)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        step = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        of_arm = batches[arm.name]
        steps[arm.name] = step(model, [*of_arm[:warm_up], *of_arm], optimizer)
        clocks[arm.name] = _clock(model)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    count = min(map(len, batches.values()))
    warming = min(count, warm_up)
    with EventStorage() as storage:
        for index in tqdm(range(warming + count), desc="training step", unit="batch"):
            for name, step in steps.items():
                began = clocks[name]()
                step.run_step()
                if index >= warming:
                    taken[name].append(clocks[name]() - began)
            storage.step()  # deep supervision takes its depths in turn
    return {name: _quartiles(values) for name, values in taken.items()}


def peak_memory(config_file: str, weights: str, images: Sequence[Batch]) -> float:
    """Peak memory in MiB of a fresh process while it predicts ``images``.

    On a GPU the memory that PyTorch allocated there, otherwise the resident memory, with PyTorch
    and the weights in it. What loading took is left out where the system allows (CUDA, Linux).
    """
    return in_own_process(_predict_and_weigh, config_file, weights, list(images))


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function of a module, called in a new process that has used no memory yet."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def measure_inference(arms: Sequence[Arm], *, images: int = 20) -> dict[str, dict[str, Any]]:
    """Costs of prediction by arm, measured side by side on the same images.

    Args:
        images: how many of the last of the first arm's DATASETS.TEST latency is measured on.

    Returns:
        arm -> ``parameters`` and ``flops`` (of one image, of ``image_size``) by part, ``latency``
        (seconds an image by stage: median, quartiles, of ``images``), ``peak_memory`` (MiB).
    """
    cfgs = {arm.name: build_config(arm.config_file) for arm in arms}
    first = cfgs[arms[0].name]
    loader = Trainer.build_test_loader(first, first.DATASETS.TEST[-1])
    pictures = list(itertools.islice(loader, images))
    memory = {
        arm.name: peak_memory(arm.config_file, arm.weights, pictures[:3])
        for arm in tqdm(arms, desc="memory", unit="arm")
    }
    models = {arm.name: load_model(cfgs[arm.name], arm.weights) for arm in arms}
    latency = measure_latency(models, pictures)
    image = pictures[0][0]["image"]
    return {
        name: {
            "parameters": count_parameters(model),
            "flops": count_flops(model, image),
            "image_size": list(image.shape[-2:]),
            "images": len(pictures),
            "latency": latency[name],
            "peak_memory": round(memory[name], 1),
        }
        for name, model in models.items()
    }


def measure_arms(arms: Sequence[Arm], *, images: int = 20) -> dict[str, dict[str, Any]]:
    """Costs of prediction and training by arm.

    Returns:
        What :func:`measure_inference` does, and ``training`` (seconds an iteration: median,
        quartiles), on ``images`` batches of each arm's training data.
    """
    found = measure_inference(arms, images=images)
    batches = {}
    for arm in arms:  # of one seed: the same images and crops, with masks or label images
        loader = Trainer.build_train_loader(build_config(arm.config_file))
        batches[arm.name] = list(itertools.islice(loader, images))
    training = measure_training(arms, batches)
    return {name: {**costs, "training": training[name]} for name, costs in found.items()}


def load_model(cfg: CfgNode, weights: str) -> nn.Module:
    """The model of ``cfg`` with those weights, for inference."""
    model = apply_memory_format_and_compile(build_model(cfg), cfg).eval()
    Checkpointer(model).load(weights)
    return model


def _predict_and_weigh(config_file: str, weights: str, images: Sequence[Batch]) -> float:
    cfg = build_config(config_file)
    model = load_model(cfg, weights)
    forget_peak(cfg.MODEL.DEVICE)
    with torch.no_grad():
        for image in images:
            model(image)
    if torch.device(cfg.MODEL.DEVICE).type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_resident()


def forget_peak(device: str) -> None:
    """Begin anew to watch for the peak, so that it is not that of loading the weights."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # Linux: VmHWM goes down to what is resident


def peak_resident() -> float:
    """Peak resident memory of this process in MiB."""
    try:
        # not getrusage: on Linux a child begins with the peak of the process that started it
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    except OSError:
        return process_peak() / 2**20


def _clock(model: nn.Module) -> Callable[[], float]:
    device = next(model.parameters()).device
    if device.type != "cuda":
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def _quartiles(values: Sequence[float]) -> list[float]:
    """Median, first and third quartile."""
    return [round(float(v), 6) for v in np.percentile(values, [50, 25, 75])]

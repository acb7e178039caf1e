"""Time of a training iteration by its parts."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from tabulate import tabulate
from tqdm import tqdm

from maskrcnnpp.engine.progress import peak_memory
from maskrcnnpp.engine.scratch import scratch_output
from maskrcnnpp.engine.trainer import Trainer
from maskrcnnpp.environment import machine, versions
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.modeling.checkpoint import load_weights

RECORD, PAGE = "profile.json", "profile.md"
_WARM_UP = 3  # iterations
# by module, what its forward pass is called
_FORWARD = {
    "backbone.bottom_up": "encoder",
    "backbone.grid": "grid",
    "backbone": "pyramid",
    "proposal_generator": "RPN",
    "roi_heads.box_head": "box head",
    "roi_heads.mask_head": "mask head",
    "roi_heads": "RoI heads",
}
# what is counted by itself inside of another
_INSIDE = {
    "pyramid": ("encoder", "grid"),
    "RoI heads": ("box head", "mask head"),
    "model": ("encoder", "grid", "pyramid", "RPN", "box head", "mask head", "RoI heads"),
}


def profile(cfg: CfgNode, iterations: int) -> str:
    """Measure iterations of a training, and write ``profile.md`` and ``profile.json``.

    Nothing is evaluated or saved.

    Args:
        cfg: of the training.
        iterations: that are measured, after a few to warm up.

    Returns:
        the page.

    Raises:
        ConfigError, DataError: what a training would end with.
    """
    with scratch_output(cfg) as tried:
        trainer = Trainer(tried)
        load_weights(trainer.resume_or_load, tried, resume=False)
        parts = _measure(trainer, iterations)
    found = {
        "parts": parts,
        "images": cfg.SOLVER.IMS_PER_BATCH,
        "iterations": iterations,
        "memory_mib": round(peak_memory() / 2**20),
        "machine": machine(),
        "versions": versions(),
    }
    page = _page(found)
    write_json(Path(cfg.OUTPUT_DIR, RECORD), found, indent=1)
    write_text(Path(cfg.OUTPUT_DIR, PAGE), page)
    return page


def _measure(trainer: Trainer, iterations: int) -> dict[str, float]:
    count = _WARM_UP + iterations
    clock = _Clock(trainer)
    with clock.listening():
        steps = trainer.bare_steps(count)
        for storage in tqdm(steps, total=count, desc="iterations", unit="it", leave=False):
            clock.end_iteration(storage.latest()["data_time"][0])
    return clock.parts(_WARM_UP)


class _Clock:
    """Notes when parts begin and end, with what the device was given done by then."""

    def __init__(self, trainer: Trainer) -> None:
        self._model = trainer.model
        self._optimizer = trainer.optimizer
        self._on_gpu = next(self._model.parameters()).device.type == "cuda"
        self._spent: list[dict[str, float]] = []
        self._now: dict[str, float] = defaultdict(float)
        self._mark = 0.0  # when the last part ended

    def end_iteration(self, waiting: float) -> None:
        """
        Args:
            waiting: seconds, for images.
        """
        now = self._time()
        self._now |= {"waiting for images": waiting, "iteration": now - self._begin}
        self._spent.append(dict(self._now))
        self._now = defaultdict(float)
        self._begin = self._time()

    def parts(self, warm_up: int) -> dict[str, float]:
        """Median seconds of each part; together they are the iteration."""
        measured = self._spent[warm_up:]
        names = dict.fromkeys(name for spent in measured for name in spent)
        found = {name: statistics.median(s.get(name, 0.0) for s in measured) for name in names}
        whole = dict(found)
        for name, parts in _INSIDE.items():
            inside = sum(found.get(part, 0.0) for part in parts)
            found[name] = max(0.0, whole.get(name, 0.0) - inside)
        iteration = found.pop("iteration")
        found["rest of the forward pass"] = found.pop("model")
        found["rest"] = max(0.0, iteration - sum(found.values()))
        return {**{name: round(x, 6) for name, x in found.items() if x}, "iteration": iteration}

    @contextmanager
    def listening(self) -> Iterator[None]:
        inner = getattr(self._model, "module", self._model)  # of several processes
        modules = dict(inner.named_modules())
        named = {modules[name]: part for name, part in _FORWARD.items() if name in modules}
        handles = []
        for module, part in {**named, inner: "model"}.items():
            handles += self._listen(module, part)
        handles.append(self._optimizer.register_step_pre_hook(lambda *_: self._end("backward")))
        handles.append(self._optimizer.register_step_post_hook(lambda *_: self._end("optimizer")))
        self._begin = self._time()
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _listen(self, module: torch.nn.Module, part: str) -> list[Any]:
        begins: list[float] = []

        def end(*_: Any) -> None:
            self._mark = self._time()
            self._now[part] += self._mark - begins.pop()

        return [
            module.register_forward_pre_hook(lambda *_: begins.append(self._time())),
            module.register_forward_hook(end),
        ]

    def _end(self, part: str) -> None:
        now = self._time()
        self._now[part] += now - self._mark
        self._mark = now

    def _time(self) -> float:
        if self._on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()


def _page(found: Mapping[str, Any]) -> str:
    whole = found["parts"]["iteration"]
    rows = [
        (name, f"{1000 * seconds:.1f}", f"{100 * seconds / whole:.0f} %")
        for name, seconds in found["parts"].items()
    ]
    headers, align = ["part", "ms", "share"], ("left", "right", "right")
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align)
    about = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    return (
        f"# A training iteration by its parts\n\nMedians of {found['iterations']} iterations of "
        f"{found['images']} images. From the encoder to the RoI heads it is the forward pass.\n\n"
        f"{table}\n\n{found['images'] / whole:.1f} images a second; peak memory "
        f"{found['memory_mib']} MiB.\n\n{about}.\n"
    )

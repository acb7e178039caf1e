"""A first guess of the learning rate: the range test of Smith (2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from tqdm import tqdm

from maskrcnnpp.engine.scratch import scratch_output
from maskrcnnpp.engine.trainer import Trainer
from maskrcnnpp.errors import DivergedError
from maskrcnnpp.files import write_bytes, write_json
from maskrcnnpp.modeling.checkpoint import load_weights
from maskrcnnpp.plots import COLORS, new_figure, png, tidy

RECORD, PICTURE = "find_lr.json", "find_lr.png"
_BELOW, _ABOVE = 1e-3, 1e2  # the range, in times SOLVER.BASE_LR
_SMOOTHING = 0.9  # part of the running mean that stays
_EXPLODED = 4.0  # times the lowest loss


def find_lr(cfg: CfgNode, iterations: int = 100) -> str:
    """Train with a rate that rises in every iteration, until the loss explodes.

    Warm-up and schedule are off; no weights are kept. ``find_lr.json`` and ``find_lr.png`` say
    what was seen.

    Args:
        cfg: of the training; the rates begin at a thousandth of its SOLVER.BASE_LR.
        iterations: at most.

    Returns:
        what to make of it.

    Raises:
        ConfigError, DataError: what a training would end with.
    """
    with scratch_output(cfg) as tried:
        trainer = Trainer(tried)
        load_weights(trainer.resume_or_load, tried, resume=False)
        rates, losses = _sweep(trainer, cfg.SOLVER.BASE_LR, iterations)
    smooth = _smoothed(losses)
    best = _suggested(rates, smooth)
    found = {"rates": rates, "losses": losses, "suggested": best}
    write_json(Path(cfg.OUTPUT_DIR, RECORD), found, indent=1)
    write_bytes(Path(cfg.OUTPUT_DIR, PICTURE), _picture(rates, losses, smooth, best))
    if best is None:
        return "the loss did not fall at any rate: look at the data, and at find_lr.png"
    return (
        f"SOLVER.BASE_LR {best:.2g} is where the loss fell fastest (now {cfg.SOLVER.BASE_LR:g}); a "
        f"hint from {len(rates)} iterations with batches of {cfg.SOLVER.IMS_PER_BATCH}, see "
        f"{Path(cfg.OUTPUT_DIR, PICTURE)}"
    )


def _sweep(trainer: Trainer, base: float, iterations: int) -> tuple[list[float], list[float]]:
    """Rates, and the loss at each."""
    groups = trainer.optimizer.param_groups
    shares = [group["initial_lr"] / base for group in groups]  # biases may have rates of their own
    rates = [base * _BELOW * (_ABOVE / _BELOW) ** (k / max(1, iterations - 1))
             for k in range(iterations)]  # fmt: skip
    losses: list[float] = []
    steps = trainer.bare_steps(iterations)
    for rate in tqdm(rates, desc="rates", unit="it", leave=False):
        for group, share in zip(groups, shares):
            group["lr"] = rate * share
        try:
            storage = next(steps)
        except DivergedError:
            break
        losses.append(storage.latest()["total_loss"][0])
        if _smoothed(losses)[-1] > _EXPLODED * min(_smoothed(losses)):
            break
    return rates[: len(losses)], losses


def _smoothed(losses: Sequence[float]) -> list[float]:
    """Running means, without the pull of the first to 0."""
    mean, found = 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        found.append(mean / (1 - _SMOOTHING**count))
    return found


def _suggested(rates: Sequence[float], smooth: Sequence[float]) -> float | None:
    """Rate at the steepest descent before the lowest loss; None where the loss only rose."""
    lowest = min(range(len(smooth)), key=smooth.__getitem__, default=0)
    if lowest < 2:
        return None
    logs = [math.log(rate) for rate in rates]
    slopes = [
        (smooth[k + 1] - smooth[k - 1]) / (logs[k + 1] - logs[k - 1]) for k in range(1, lowest)
    ]
    return rates[1 + min(range(len(slopes)), key=slopes.__getitem__)]


def _picture(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], best: float | None
) -> bytes:
    figure = new_figure(7, 3.6)
    axes = tidy(figure.add_subplot())
    axes.plot(rates, losses, ".", color=COLORS[7], ms=3, label="an iteration")
    axes.plot(rates, smooth, color=COLORS[0], lw=1.6, label="running mean")
    if best is not None:
        axes.axvline(best, color=COLORS[1], lw=1.2, label=f"steepest: {best:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="total loss")
    if smooth:
        axes.set_ylim(0, 1.6 * max(smooth[0], *smooth[: max(1, len(smooth) // 2)]))
    axes.legend(fontsize=8, frameon=False)
    return png(figure)

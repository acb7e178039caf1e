"""Detectron2's trainer, made to be relied on."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetMapper,
    build_detection_test_loader,
)
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, create_ddp_model, hooks
from detectron2.evaluation import DatasetEvaluator, verify_results
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter, JSONWriter, TensorboardXWriter
from fvcore.nn.precise_bn import get_bn_modules

from maskrcnnpp.coco.file import forget_files
from maskrcnnpp.data.catalog import register_dataset
from maskrcnnpp.data.fingerprint import data_fingerprint
from maskrcnnpp.data.loader import SeededByName, TrainLoader, build_train_loader
from maskrcnnpp.data.mapper import find_mapper
from maskrcnnpp.engine.evaluators import build_evaluator, needs_full_masks
from maskrcnnpp.engine.hooks.averaging import WeightAverage
from maskrcnnpp.engine.hooks.checkpoints import Checkpoints
from maskrcnnpp.engine.hooks.curves import Curves
from maskrcnnpp.engine.hooks.evaluation import Evaluation
from maskrcnnpp.engine.hooks.pictures import Pictures
from maskrcnnpp.engine.hooks.stop_signal import StopOnSignal
from maskrcnnpp.engine.hooks.tracker import Tracker
from maskrcnnpp.engine.optimizer_state import optimizer_names, optimizer_state, schedule_anew
from maskrcnnpp.engine.progress import (
    ProgressPrinter,
    Stopwatch,
    TolerantWriter,
    closing_table,
)
from maskrcnnpp.engine.run_record import record_start
from maskrcnnpp.engine.step import build_step
from maskrcnnpp.engine.training_checks import check_training_keys
from maskrcnnpp.engine.validation_loss import validation_losses
from maskrcnnpp.errors import ConfigError, UserError
from maskrcnnpp.inference import with_rle_masks
from maskrcnnpp.modeling.checkpoint import Checkpointer
from maskrcnnpp.modeling.speed import apply_memory_format_and_compile

logger = logging.getLogger(__name__)

# what is worth a look in OUTPUT_DIR
_RESULTS = (
    "model_final.pth", "model_best.pth", "config.yaml", "runs.json", "metrics.json", "curves.png",
    "predictions.png", "bad_losses",
)  # fmt: skip


class Trainer(DefaultTrainer):
    """``DefaultTrainer`` whose trainings can be stopped at any moment, and gone on with exactly.

    What a training draws depends on its seed, the iteration and the image only; what is best so
    far, what a schedule came to and which data it is of is in its checkpoints. AP counts
    ``TEST.DETECTIONS_PER_IMAGE`` detections an image.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: the config; ``SOLVER.REFERENCE_WORLD_SIZE`` scales it to the processes there are.

        Raises:
            ConfigError, DataError: a key of the config is impossible, or its data are.
        """
        # DefaultTrainer's would build a step of Detectron2's, and wrap the model for GPUs only
        TrainerBase.__init__(self)
        check_training_keys(cfg)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
            register_dataset(name)
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        self._inner = model
        self._trainer = build_step(cfg, _distributed(model), loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = Checkpointer(
            model, cfg.OUTPUT_DIR, adapts_channels=True, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        #: Why the training was stopped before its end; "" while it was not.
        self.stop_reason = ""
        #: Of the last evaluation; empty before one and in other processes than the main one.
        self.results: dict[str, Any] = {}
        self._data = data_fingerprint(cfg.DATASETS.TRAIN)
        self._average = self._build_average()
        self.register_hooks(self.build_hooks())

    def _build_average(self) -> WeightAverage | None:
        decay = self.cfg.SOLVER.EMA_DECAY
        if not decay:
            return None
        average = WeightAverage(self._inner, decay)
        self.checkpointer.averaged = average.model
        return average

    @property
    def model_in_use(self) -> torch.nn.Module:
        """The model that is evaluated: of averaged weights where there are."""
        return self._inner if self._average is None else self._average.model

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's, with those of this project for checkpoints and evaluation."""
        cfg = self.cfg
        self.saving = Checkpoints(
            self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINTS_KEPT
        )
        self.evaluation = Evaluation(
            lambda: self.evaluate(),
            cfg.TEST.EVAL_PERIOD,
            metric=cfg.TEST.BEST_METRIC,
            datasets=cfg.DATASETS.TEST,
            patience=cfg.TEST.PATIENCE,
            save_best=self._save_best,
            before=self.saving.save_if_due,
        )
        found = [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._average,
            self._build_precise_bn(),
            StopOnSignal(),
            self.evaluation,
            self.saving,
        ]
        if comm.is_main_process():
            if cfg.DATASETS.TEST and cfg.TEST.PICTURES > 0:
                found.append(Pictures(cfg.OUTPUT_DIR, cfg.DATASETS.TEST[0], cfg.TEST.PICTURES))
            writers = [TolerantWriter(writer) for writer in self.build_writers()]
            found.append(hooks.PeriodicWriter(writers, period=20))
            found.append(Tracker(cfg) if cfg.TRACKER.NAME else None)
            found.append(
                Curves(cfg.OUTPUT_DIR, cfg.TEST.EVAL_PERIOD or cfg.SOLVER.CHECKPOINT_PERIOD)
            )
        return [hook for hook in found if hook is not None]

    def build_writers(self) -> list[EventWriter]:
        """A line in the log, metrics.json, and TensorBoard's file."""
        folder = self.cfg.OUTPUT_DIR
        os.makedirs(folder, exist_ok=True)
        return [
            ProgressPrinter(self.max_iter),
            JSONWriter(os.path.join(folder, "metrics.json")),
            TensorboardXWriter(folder),
        ]

    def _build_precise_bn(self) -> HookBase | None:
        cfg = self.cfg
        if not (cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(self.model)):
            return None
        alone = cfg.clone()
        alone.defrost()
        alone.DATALOADER.NUM_WORKERS = 0  # as Detectron2 does: to save memory
        loader = self.build_train_loader(alone)
        count = cfg.TEST.PRECISE_BN.NUM_ITER
        return hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, self.model, loader, count)

    def _save_best(self, name: str) -> None:
        self.checkpointer.save_aside(name, iteration=self.iter)

    def evaluate(self) -> dict[str, Any]:
        """Metrics of the test sets, and with TEST.LOSS their losses, by name."""
        model = self.model_in_use
        self.results = {}  # not those of before, where this fails
        self.results = self.test(self.cfg, model)
        losses = self._validation_losses(model) if self.cfg.TEST.LOSS else {}
        return {**self.results, **({"validation": losses} if losses else {})}

    def _validation_losses(self, model: torch.nn.Module) -> dict[str, float]:
        """Validation losses over all test sets together, loaded as for training."""
        loader = build_detection_test_loader(
            self.cfg,
            list(self.cfg.DATASETS.TEST),
            mapper=SeededByName(_train_mapper(self.cfg)),
            batch_size=self.cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(),
        )
        return validation_losses(model, loader)

    def resume_or_load(self, resume: bool = True) -> None:
        """Detectron2's.

        Raises:
            ConfigError: the checkpoint is of another model or other data, or none can be read.
        """
        super().resume_or_load(resume=resume)
        if resume and self.start_iter == 0:
            logger.info("no checkpoint in %s to go on from", self.cfg.OUTPUT_DIR)
        if self._average is not None and self.start_iter == 0:
            self._average.begin()

    def stop(self, reason: str, *, is_end: bool = False) -> None:
        """End after this iteration.

        Args:
            reason: for the log.
            is_end: as at the last iteration, with all that comes then; otherwise as for a training
                that will be gone on with.
        """
        logger.info("the training ends after iteration %d: %s", self.iter, reason)
        if is_end:
            self.max_iter = self.iter + 1
        else:
            self.stop_reason = reason

    def train(self) -> dict[str, Any]:
        """Train from ``start_iter`` to ``max_iter``, or until a hook stops it.

        Returns:
            :attr:`results`.
        """
        watch = Stopwatch()
        self.data_loader.seek(self.start_iter)
        if comm.is_main_process():
            record_start(self.cfg, start_iter=self.start_iter, seed=self.data_loader.seed)
        forget_files()
        logger.info("training from iteration %d to %d", self.start_iter, self.max_iter)
        self.iter = self.start_iter
        with EventStorage(self.start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < self.max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    if self.stop_reason:
                        break
                    self.iter += 1
            except UserError:
                raise  # a message, which needs no traceback
            except Exception:
                logger.exception("error at iteration %d", self.iter)
                raise
            finally:
                self.after_train()
        if comm.is_main_process():
            logger.info("end of the training\n%s", self._closing_table(watch.seconds))
        self.saving.raise_if_failed()
        self.evaluation.raise_if_failed()
        if self.cfg.TEST.EXPECTED_RESULTS and self.results and not self.stop_reason:
            verify_results(self.cfg, self.results)
        return self.results

    def bare_steps(self, count: int) -> Iterator[EventStorage]:
        """Train without hooks: nothing is scheduled, evaluated, logged or saved.

        Yields:
            after each iteration, what it put.
        """
        self.data_loader.seek(0)
        storage = EventStorage(0)
        for self.iter in range(count):
            storage.iter = self.iter
            with storage:  # not while another trainer may take its turn
                self.run_step()
            yield storage

    def _closing_table(self, seconds: float) -> str:
        return closing_table(
            iterations=self.iter - self.start_iter + bool(self.stop_reason),
            seconds=seconds,
            results=self.results,
            best=self.evaluation.best,
            metric=self.cfg.TEST.BEST_METRIC,
            left_out=self._trainer.guard.left_out,
            folder=self.cfg.OUTPUT_DIR,
            files=_RESULTS,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "seed": self.data_loader.seed,
            "data": self._data,
            "optimizer_names": optimizer_names(self._inner, self.optimizer),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if state_dict.get("data", self._data) != self._data:
            raise ConfigError(
                "its training data are not those of DATASETS.TRAIN now, or these changed since; to "
                "train on other data begin anew with MODEL.WEIGHTS and another OUTPUT_DIR"
            )
        seed = state_dict.get("seed", self.data_loader.seed)
        if seed != self.cfg.SEED >= 0:
            raise ConfigError(
                f"SEED is {self.cfg.SEED}, and the training began with {seed}, which cannot change "
                f"on the way: set SEED {seed}, or begin anew with another OUTPUT_DIR"
            )
        base_lrs = list(self.scheduler.base_lrs)
        step = dict(state_dict["_trainer"])
        step["optimizer"] = optimizer_state(
            step["optimizer"],
            state_dict.get("optimizer_names"),
            self.optimizer,
            optimizer_names(self._inner, self.optimizer),
        )
        super().load_state_dict({**state_dict, "_trainer": step})
        if self.iter + 1 < self.max_iter:
            schedule_anew(self.optimizer, self.scheduler, base_lrs)
        self.data_loader.seek(0, seed)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainLoader:
        """The loader of this project, with the mapper that the config asks for.

        Without a ``SEED`` one is drawn, the same for all processes.
        """
        seed = comm.shared_random_seed() if cfg.SEED < 0 else cfg.SEED
        return build_train_loader(cfg, _train_mapper(cfg), seed=seed)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> torch.nn.Module:
        """Detectron2's, as the keys of speed say."""
        return apply_memory_format_and_compile(super().build_model(cfg), cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        """Detectron2's loader, with the mapper that the config asks for."""
        return build_detection_test_loader(cfg, dataset_name, mapper=find_mapper(cfg, False))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return build_evaluator(cfg, dataset_name)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: torch.nn.Module,
        evaluators: Sequence[DatasetEvaluator] | None = None,
    ) -> dict:
        """Detectron2's, without a full-image mask for each detection."""
        judged = model if needs_full_masks(cfg) else with_rle_masks(model)
        return super().test(cfg, judged, evaluators)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Detectron2's SGD, or AdamW with the same parameter groups and gradient clipping.

        Raises:
            ConfigError: ``SOLVER.OPTIMIZER`` is neither.
        """
        if cfg.SOLVER.OPTIMIZER == "SGD":
            return super().build_optimizer(cfg, model)
        if cfg.SOLVER.OPTIMIZER != "AdamW":
            raise ConfigError(
                f"SOLVER.OPTIMIZER is {cfg.SOLVER.OPTIMIZER!r}; it can be 'SGD' or 'AdamW'"
            )
        params = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        optimizer = maybe_add_gradient_clipping(cfg, torch.optim.AdamW)
        return optimizer(
            params,
            lr=cfg.SOLVER.BASE_LR,
            weight_decay=cfg.SOLVER.WEIGHT_DECAY,
            # one pass over weights and moments, which take a while on a CPU. With mixed precision
            # a fused step would get gradients still scaled, and clip them as they are.
            fused=not cfg.SOLVER.AMP.ENABLED,
        )


def _distributed(model: torch.nn.Module) -> torch.nn.Module:
    """The model, wrapped where there are several processes."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    more = {} if on_gpu else {"device_ids": None}
    # in turn, some depths are not trained
    return create_ddp_model(model, broadcast_buffers=False, find_unused_parameters=True, **more)


def _train_mapper(cfg: CfgNode) -> DatasetMapper:
    return find_mapper(cfg, True) or DatasetMapper(cfg, True)

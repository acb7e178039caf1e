"""A training that kills itself at a place of an iteration. A command of test_restart.py."""

import os
import signal
import sys

import torch
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from maskrcnnpp.engine import Trainer, build_config
from maskrcnnpp.engine.hooks import curves


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


class Kill(HookBase):
    def __init__(self, place, iteration):
        self.place, self.iteration = place, iteration

    def _at(self, place):
        if (place, self.trainer.iter) == (self.place, self.iteration):
            kill()

    def before_step(self):
        self._at("before")
        if (self.place, self.iteration) == ("while saving", self.trainer.iter):
            write = torch.save

            def half(value, file):
                write(value, file)
                file.flush()
                os.ftruncate(file.fileno(), file.tell() // 2)
                kill()

            torch.save = half
        if (self.place, self.iteration) == ("while evaluating", self.trainer.iter):
            Trainer.test = kill

    def after_step(self):
        self._at("after")


def main(place, iteration, truth, images, name, config, *opts):
    register_coco_instances(name, {}, truth, images)
    torch.set_num_threads(1)  # as in the tests: the order of sums depends on it
    curves.write_curves = lambda output_dir: None
    cfg = build_config(config, opts)
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.register_hooks([Kill(place, int(iteration))])
    trainer.resume_or_load(resume=True)
    trainer.train()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A training in one of several processes. A command of test_distributed.py, under torchrun."""

import os
import signal
import sys

import torch
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import HookBase, default_argument_parser

from maskrcnnpp.engine import main as engine_main
from maskrcnnpp.errors import exit_on_user_error


class InOneRank(HookBase):
    """What happens in rank 1 after its second iteration."""

    def __init__(self, what):
        self.what = what

    def after_step(self):
        if os.environ["RANK"] != "1" or self.trainer.iter != 1:
            return
        if self.what == "error":
            raise RuntimeError("this rank fails")
        if self.what == "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)


def main(what, truth, images, name, *words):
    register_coco_instances(name, {}, truth, images)
    torch.set_num_threads(1)
    build_hooks = engine_main.Trainer.build_hooks
    engine_main.Trainer.build_hooks = lambda self: [InOneRank(what), *build_hooks(self)]
    args = default_argument_parser().parse_args(words)
    engine_main.launch_processes(engine_main.run, (args,), num_processes=1)


if __name__ == "__main__":
    with exit_on_user_error():
        main(*sys.argv[1:])

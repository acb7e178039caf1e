#!/usr/bin/env python
"""Train or evaluate a model of Detectron2 or maskrcnnpp.

python tools/train_net.py --config-file FILE [KEY VALUE ...]
python tools/train_net.py --config-file FILE --resume
python tools/train_net.py --config-file FILE --eval-only MODEL.WEIGHTS FILE
"""

import argparse

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import default_argument_parser, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from maskrcnnpp.engine import Trainer, setup
from maskrcnnpp.errors import exit_on_user_error


def main(args: argparse.Namespace) -> dict | None:
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
            cfg.MODEL.WEIGHTS, resume=args.resume
        )
        results = Trainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    with exit_on_user_error():
        args = default_argument_parser(epilog=__doc__).parse_args()
        launch(
            main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )

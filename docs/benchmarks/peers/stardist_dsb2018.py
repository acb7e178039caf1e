#!/usr/bin/env python
"""Train StarDist on the prepared DSB2018 for a given time, and write COCO results.

It needs an environment of its own, for TensorFlow:

    python3 -m venv .venv-stardist
    .venv-stardist/bin/pip install -r docs/benchmarks/peers/stardist_requirements.txt
    OMP_NUM_THREADS=1 .venv-stardist/bin/python docs/benchmarks/peers/stardist_dsb2018.py \\
        --minutes 43 --threads 1 --seed 0 --output output/peers/stardist/seed0

and writes ``<output>/run.json``, which says how it was run, and ``<output>/dsb2018_val.json`` and
``<output>/dsb2018_test.json`` for

    maskrcnnpp benchmark ... --external 'StarDist=output/peers/stardist/seed0/{dataset}.json'

Images are read and split as for the other arms; the time is CPU time, of training alone, so that
other work of the machine takes none of it. The settings
are those of StarDist's own DSB2018 example: 32 rays, grid 2, normalisation to percentiles 1 and
99.8, flips, quarter turns and changes of intensity. Grey images stay as they are; colour is
averaged.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as mask_util
import tensorflow as tf
from csbdeep.utils import normalize
from stardist import fill_label_holes
from stardist.models import Config2D, StarDist2D

PATCH = 192
BATCH = 4


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("datasets/dsb2018"))
    parser.add_argument("--minutes", type=float, required=True, help="CPU time of training")
    parser.add_argument("--threads", type=int, default=1, help="as many as the other arms have")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def read_split(data: Path, split: str) -> tuple[list[dict], list[np.ndarray], list[np.ndarray]]:
    """Image records, normalised grey images and label images."""
    coco = json.loads((data / "annotations" / f"instances_{split}.json").read_text())
    masks: dict[int, list] = {}
    for annotation in coco["annotations"]:
        masks.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
    images, labels = [], []
    for record in coco["images"]:
        pixels = cv2.imread(str(data / "images" / record["file_name"]), cv2.IMREAD_COLOR)
        images.append(normalize(pixels.mean(axis=2).astype(np.float32), 1, 99.8))
        label = np.zeros(pixels.shape[:2], dtype=np.int32)
        for number, mask in enumerate(masks.get(record["id"], []), start=1):
            label[mask_util.decode(mask) > 0] = number
        labels.append(fill_label_holes(label))
    return coco["images"], images, labels


def augment(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flips, quarter turns, a change of intensity and noise, as in StarDist's example."""
    turns = np.random.randint(4)
    image, label = np.rot90(image, turns), np.rot90(label, turns)
    if np.random.rand() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    image = image * np.random.uniform(0.6, 2) + np.random.uniform(-0.2, 0.2)
    return image + 0.02 * np.random.rand() * np.random.normal(size=image.shape), label


class StopAfter(tf.keras.callbacks.Callback):
    """Stops the training when its time is up."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.steps = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.end = time.process_time() + self.seconds

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.steps += 1
        if time.process_time() >= self.end:
            self.model.stop_training = True


def train(args: argparse.Namespace) -> tuple[StarDist2D, int]:
    """The model and how many steps it was trained for."""
    _, images, labels = read_split(args.data, "train")
    _, val_images, val_labels = read_split(args.data, "val")
    config = Config2D(
        n_rays=32,
        grid=(2, 2),
        n_channel_in=1,
        train_patch_size=(PATCH, PATCH),
        train_batch_size=BATCH,
        train_steps_per_epoch=100,
        train_tensorboard=False,
        use_gpu=False,
    )
    model = StarDist2D(config, name="model", basedir=str(args.output))
    model.prepare_for_training()
    watch = StopAfter(60 * args.minutes)
    model.callbacks.append(watch)
    few = np.random.default_rng(args.seed).choice(len(val_images), 8, replace=False)
    validation = ([val_images[k] for k in few], [val_labels[k] for k in few])
    # more epochs than the time allows
    model.train(
        images, labels, validation_data=validation, augmenter=augment, seed=args.seed, epochs=1000
    )
    return model, watch.steps


def predict(model: StarDist2D, data: Path, split: str) -> list[dict]:
    """COCO results of one split."""
    records, images, _ = read_split(data, split)
    results = []
    for record, image in zip(records, images):
        # down to low scores, as the other arms predict; the benchmark tunes what is shown
        labels, details = model.predict_instances(image, prob_thresh=0.1, nms_thresh=0.4)
        for number, score in enumerate(details["prob"], start=1):
            mask = mask_util.encode(np.asfortranarray(labels == number, dtype=np.uint8))
            if mask_util.area(mask) == 0:
                continue
            mask["counts"] = mask["counts"].decode("ascii")
            results.append(
                {
                    "image_id": record["id"],
                    "category_id": 1,
                    "score": float(score),
                    "segmentation": mask,
                    "bbox": mask_util.toBbox(mask).tolist(),
                }
            )
    return results


def main() -> None:
    args = parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    np.random.seed(args.seed)
    tf.random.set_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    model, steps = train(args)
    versions = {name: metadata.version(name) for name in ("stardist", "tensorflow-cpu", "keras")}
    run = {"seed": args.seed, "minutes": args.minutes, "threads": args.threads, "steps": steps}
    (args.output / "run.json").write_text(json.dumps({**run, "versions": versions}))
    for split in ("val", "test"):
        results = predict(model, args.data, split)
        path = args.output / f"dsb2018_{split}.json"
        path.write_text(json.dumps(results))
        print(f"{path}: {len(results)} objects")


if __name__ == "__main__":
    main()

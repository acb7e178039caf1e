#!/usr/bin/env python
"""Predict images with a model of StarDist, and print what it took: see ../speed.py."""

import json
import os
import resource
import sys
import time

started = float(sys.argv[1])
folder, repeats, *files = sys.argv[2:]

import cv2  # noqa: E402  # what is imported counts
import tensorflow as tf  # noqa: E402
from csbdeep.utils import normalize  # noqa: E402
from stardist.models import StarDist2D  # noqa: E402

threads = int(os.environ["OMP_NUM_THREADS"])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)
said, sys.stdout = sys.stdout, sys.stderr  # StarDist prints there
model = StarDist2D(None, name="model", basedir=folder)


def predict(pixels):
    # in tiles of about 1024 pixels, as the others
    tiles = tuple(-(-side // 1024) for side in pixels.shape)
    labels, details = model.predict_instances(normalize(pixels, 1, 99.8), n_tiles=tiles,
                                              show_tile_progress=False)  # fmt: skip
    return len(details["prob"])


found = {"cold": None, "images": []}
for file in files:
    pixels = cv2.imread(file, cv2.IMREAD_UNCHANGED)
    count = predict(pixels)
    found["cold"] = found["cold"] or time.time() - started
    cpu, wall = [], []
    for _ in range(int(repeats)):
        before = time.process_time(), time.perf_counter()
        count = predict(pixels)
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["images"].append({"objects": count, "cpu": cpu, "wall": wall, "peak": peak})
print(json.dumps(found), file=said)

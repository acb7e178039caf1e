#!/usr/bin/env python
"""Predict images with a model of StarDist, and print what it took: see ../speed.py."""

import os
import sys

started = float(sys.argv[1])
folder, repeats, *files = sys.argv[2:]

import tensorflow as tf  # noqa: E402  # what is imported counts
from csbdeep.utils import normalize  # noqa: E402
from stardist.models import StarDist2D  # noqa: E402
from timing import report  # noqa: E402

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


report(predict, files, int(repeats), started, said)

#!/usr/bin/env python
"""Run the network of Cellpose 3 on images, and print what it took: see ../speed.py.

Its weights are fetched from the web, so these are random: nothing is found, and the steps after
the network are left out.
"""

import json
import resource
import sys
import time

started = float(sys.argv[1])
repeats, *files = sys.argv[2:]

import cv2  # noqa: E402  # what is imported counts
import numpy as np  # noqa: E402
import torch  # noqa: E402
from cellpose.core import run_net  # noqa: E402
from cellpose.resnet_torch import CPnet  # noqa: E402
from cellpose.transforms import normalize99  # noqa: E402

torch.set_num_threads(1)
net = CPnet([2, 32, 64, 128, 256], nout=3, sz=3, max_pool=True, diam_mean=30.0).eval()


def predict(pixels):
    grey = normalize99(pixels if pixels.ndim == 2 else pixels.mean(axis=2))
    both = np.stack([grey, np.zeros_like(grey)], axis=-1).astype(np.float32)
    run_net(net, both[None], augment=False, tile_overlap=0.1, bsize=224)  # Cellpose's own tiles


found = {"cold": None, "images": []}
for file in files:
    pixels = cv2.imread(file, cv2.IMREAD_UNCHANGED)
    predict(pixels)
    found["cold"] = found["cold"] or time.time() - started
    cpu, wall = [], []
    for _ in range(int(repeats)):
        before = time.process_time(), time.perf_counter()
        predict(pixels)
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["images"].append({"objects": None, "cpu": cpu, "wall": wall, "peak": peak})
print(json.dumps(found))

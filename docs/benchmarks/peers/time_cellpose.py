#!/usr/bin/env python
"""Run the network of Cellpose 3 on images, and print what it took: see ../speed.py.

Its weights are fetched from the web, so these are random: nothing is found, and the steps after
the network are left out.
"""

import sys

started = float(sys.argv[1])
repeats, *files = sys.argv[2:]

import numpy as np  # noqa: E402  # what is imported counts
import torch  # noqa: E402
from cellpose.core import run_net  # noqa: E402
from cellpose.resnet_torch import CPnet  # noqa: E402
from cellpose.transforms import normalize99  # noqa: E402
from timing import report  # noqa: E402

torch.set_num_threads(1)
net = CPnet([2, 32, 64, 128, 256], nout=3, sz=3, max_pool=True, diam_mean=30.0).eval()


def predict(pixels):
    grey = normalize99(pixels if pixels.ndim == 2 else pixels.mean(axis=2))
    both = np.stack([grey, np.zeros_like(grey)], axis=-1).astype(np.float32)
    run_net(net, both[None], augment=False, tile_overlap=0.1, bsize=224)  # Cellpose's own tiles


report(predict, files, int(repeats), started, sys.stdout)

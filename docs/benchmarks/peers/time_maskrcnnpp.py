#!/usr/bin/env python
"""Predict images with a model of maskrcnnpp, and print what it took: see ../speed.py."""

import json
import resource
import sys
import time

started = float(sys.argv[1])
backend, model, repeats, *files = sys.argv[2:]

import cv2  # noqa: E402  # what is imported counts

from maskrcnnpp import Predictor  # noqa: E402

predictor = Predictor.load(model, backend=backend, progress=False, diameter=20.0)
found = {"cold": None, "images": []}
for file in files:
    pixels = cv2.imread(file, cv2.IMREAD_UNCHANGED)
    objects = predictor(pixels)
    objects.labels()
    found["cold"] = found["cold"] or time.time() - started
    cpu, wall = [], []
    for _ in range(int(repeats)):
        before = time.process_time(), time.perf_counter()
        objects = predictor(pixels)
        objects.labels()
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["images"].append({"objects": len(objects), "cpu": cpu, "wall": wall, "peak": peak})
print(json.dumps(found))

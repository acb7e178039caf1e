#!/usr/bin/env python
"""Predict images with a model of maskrcnnpp, and print what it took: see ../speed.py."""

import sys

started = float(sys.argv[1])
backend, model, repeats, *files = sys.argv[2:]

from timing import report  # noqa: E402  # what is imported counts

from maskrcnnpp import Predictor  # noqa: E402
from maskrcnnpp.models import find_model  # noqa: E402

usual = find_model(model).card["diameter"]  # given, so that images keep their size
predictor = Predictor.load(model, backend=backend, progress=False, diameter=usual)


def predict(pixels):
    objects = predictor(pixels)
    objects.labels()
    return len(objects)


report(predict, files, int(repeats), started, sys.stdout)

#!/usr/bin/env python
"""Run a command of maskrcnnpp, and print its CPU-seconds, its seconds and its peak in MiB: see
../tiling.py."""

import json
import sys
import time

start = time.perf_counter()

from timing import peak  # noqa: E402  # what is imported counts

from maskrcnnpp.cli import main  # noqa: E402

sys.argv[0] = "maskrcnnpp"
assert not main()
print(json.dumps([time.process_time(), time.perf_counter() - start, peak()]))

#!/usr/bin/env python
"""The command ``maskrcnnpp train``. See ``--help``."""

from maskrcnnpp.cli import run_script

if __name__ == "__main__":
    run_script("train")

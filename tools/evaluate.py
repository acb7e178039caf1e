#!/usr/bin/env python
"""The command ``maskrcnnpp evaluate``. See ``--help``."""

from maskrcnnpp.cli import run_script

if __name__ == "__main__":
    run_script("evaluate")

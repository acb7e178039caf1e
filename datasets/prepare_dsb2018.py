#!/usr/bin/env python
"""The command ``maskrcnnpp prepare dsb2018``. See ``--help``."""

from maskrcnnpp.cli import run_script

if __name__ == "__main__":
    run_script("prepare dsb2018")

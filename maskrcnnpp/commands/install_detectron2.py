"""The command ``maskrcnnpp install-detectron2``."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements-detectron2.txt"


def run(args: argparse.Namespace) -> int:
    spec = importlib.util.find_spec("detectron2")
    if spec is not None:
        print(f"Detectron2 is installed and kept: {spec.origin}")
        return 0
    # --python-version 3.10: the one the wheel is tagged for; its Python files suit any later one
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.10"]
    command += ["--target", sysconfig.get_path("purelib"), "-r", str(REQUIREMENTS)]
    return subprocess.call(command)

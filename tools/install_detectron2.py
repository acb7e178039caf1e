#!/usr/bin/env python
"""Install Detectron2 where there is none.

An installed Detectron2, of whatever version, is kept. Otherwise the wheel that
requirements-detectron2.txt pins by its hash is put into this Python's site-packages.
"""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements-detectron2.txt"


def main() -> int:
    spec = importlib.util.find_spec("detectron2")
    if spec is not None:
        print(f"Detectron2 is installed and kept: {spec.origin}")
        return 0
    # --python-version 3.10: the one the wheel is tagged for; its Python files suit any later one
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.10"]
    command += ["--target", sysconfig.get_path("purelib"), "-r", str(REQUIREMENTS)]
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main())

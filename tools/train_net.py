#!/usr/bin/env python
"""Train or evaluate a model of Detectron2 or maskrcnnpp. See ``--help``."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    # --help and mistakes end here, before what takes seconds to import
    arguments = Path(__file__).resolve().parent.parent / "maskrcnnpp" / "engine" / "arguments.py"
    runpy.run_path(str(arguments))["argument_parser"]().parse_args()

from maskrcnnpp.engine.main import main
from maskrcnnpp.errors import exit_on_user_error

if __name__ == "__main__":
    with exit_on_user_error():
        main()

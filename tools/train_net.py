#!/usr/bin/env python
"""Train or evaluate a model of Detectron2 or maskrcnnpp. See ``--help``."""

from maskrcnnpp.engine.main import main
from maskrcnnpp.errors import exit_on_user_error

if __name__ == "__main__":
    with exit_on_user_error():
        main()

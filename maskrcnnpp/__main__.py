"""``python -m maskrcnnpp``: the command without its script, such as under torchrun."""

import sys

from maskrcnnpp.cli import main

if __name__ == "__main__":
    sys.exit(main())

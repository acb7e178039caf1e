"""Run as a script: a command of maskrcnnpp where what a training needs is not installed."""

import importlib.abc
import sys

MISSING = {
    *("torch", "torchvision", "detectron2", "fvcore", "iopath", "timm", "safetensors", "onnx"),
    *("scipy", "skimage", "matplotlib", "pandas", "faster_coco_eval", "tabulate", "markdown"),
    *("shapely", "roifile"),
}


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


if __name__ == "__main__":
    sys.meta_path.insert(0, Missing())
    from maskrcnnpp import cli

    sys.exit(cli.main(sys.argv[1:]))

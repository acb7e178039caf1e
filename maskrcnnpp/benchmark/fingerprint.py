"""What a result depends on, in a form that can be compared."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import detectron2
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

import maskrcnnpp

_QUIET = {"check": True, "capture_output": True, "text": True}

# Rooms whose code decides what a model predicts. Metrics and reports are made anew from the
# predictions: changing them must not throw a training away.
_ROOMS = ("config.py", "modeling", "data", "engine", "evaluation/coco_evaluation.py")


def _digest(*parts: bytes) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()[:16]


def code_fingerprint() -> str:
    """Digest of the package's code that training and prediction run."""
    root = Path(maskrcnnpp.__file__).parent
    files = []
    for room in _ROOMS:
        path = root / room
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    parts = []
    for path in files:
        parts += [path.relative_to(root).as_posix().encode(), path.read_bytes()]
    return _digest(*parts)


def config_fingerprint(cfg: CfgNode) -> str:
    """Digest of what a config trains and predicts: not of where, or how that is judged."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = ""
    cfg.TEST.AREA_BINS = cfg.TEST.EXPECTED_RESULTS = []
    if os.path.isfile(cfg.MODEL.WEIGHTS):  # what is in it, not where it lies
        cfg.MODEL.WEIGHTS = _digest(Path(cfg.MODEL.WEIGHTS).read_bytes())
    return _digest(cfg.dump().encode())


def data_fingerprint(cfg: CfgNode) -> str:
    """Digest of the images, annotations and categories of a config's data sets.

    Images count by name and size in bytes. What else a COCO file says, such as who made it, is
    left out.
    """
    parts = []
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        parts.append(name.encode())
        metadata = MetadataCatalog.get(name)
        if not metadata.get("json_file"):
            continue
        coco = json.loads(Path(metadata.json_file).read_text(encoding="utf-8"))
        kept = [coco.get(key) for key in ("images", "annotations", "categories")]
        parts.append(json.dumps(kept, sort_keys=True).encode())
        for image in coco["images"]:
            path = Path(metadata.get("image_root", ""), image.get("file_name", ""))
            parts.append(str(path.stat().st_size if path.is_file() else None).encode())
    return _digest(*parts)


def commit() -> str:
    """Git commit of the checkout this package lies in, with "+" where files differ from it.

    Empty for a package that was installed without its checkout.
    """
    package = Path(maskrcnnpp.__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(package.parent), *words]
        return subprocess.run(command, **_QUIET).stdout.strip()

    try:
        # site-packages may lie in a checkout of something else
        git("ls-files", "--error-unmatch", f"{package.name}/__init__.py")
        head = git("rev-parse", "--short=10", "HEAD")
        # the rest of the checkout, such as the page a result is quoted in, makes no result
        changed = git("status", "--porcelain", package.name, "configs")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def machine() -> dict[str, str]:
    """Where this runs: processor, cores, GPU, operating system."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    except OSError:
        pass  # not Linux
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers come from."""
    found = {
        "maskrcnnpp": f"{maskrcnnpp.__version__} {commit()}".strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "detectron2": detectron2.__version__,
    }
    for name in ("torchvision", "numpy", "faster-coco-eval", "pycocotools"):
        found[name] = metadata.version(name)
    return found

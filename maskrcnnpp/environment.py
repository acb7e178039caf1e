"""Environment in which a result was made: machine, versions, commit."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.version import Version

import maskrcnnpp
from maskrcnnpp.errors import VersionError
from maskrcnnpp.version import OLDEST_TORCH

_QUIET = {"check": True, "capture_output": True, "text": True}


def check_torch() -> None:
    """Check that this PyTorch can train.

    Raises:
        VersionError: it is too old.
    """
    import torch

    # "2.6.0a0+..." of NVIDIA's containers is 2.6 enough
    if Version(torch.__version__).release[:2] < Version(OLDEST_TORCH).release:
        raise VersionError(
            f"maskrcnnpp trains with PyTorch {OLDEST_TORCH} or newer, and {torch.__version__} is "
            "installed: pip install -U torch torchvision, then build Detectron2 again if it was "
            "built from source"
        )


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, str]:
    """Where this runs: processor, cores, GPU, operating system."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    except OSError:
        pass  # not Linux
    torch = sys.modules.get("torch")  # what has not imported it has not used a GPU
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else "none"
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(*more: str) -> dict[str, str]:
    """Versions of what the numbers come from, as far as it is there: PyTorch, if it was imported.

    Args:
        more: packages to name too, if they are installed.
    """
    found = {
        "maskrcnnpp": f"{maskrcnnpp.__version__} {commit()}".strip(),
        "python": platform.python_version(),
    }
    for name in ("torch", "detectron2"):
        if name in sys.modules:
            found[name] = sys.modules[name].__version__
    of_torch = ("torchvision", "faster-coco-eval") if "torch" in found else ()
    for name in (*of_torch, "numpy", "pycocotools", *more):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


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


def bound_convolution_cache() -> None:
    """Let oneDNN, which convolves on CPUs, keep few of the convolutions that it has compiled.

    It keeps 1024. Heads see another number of RoIs in each image, for each of which it compiles
    anew: a MB each, so that memory grows by 1 GB over the first few hundred images. Has an effect
    before the first convolution of a process only. A value of ONEDNN_PRIMITIVE_CACHE_CAPACITY that
    is set stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

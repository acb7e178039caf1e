"""The command ``maskrcnnpp``. A command's module is imported once its name is known."""

from __future__ import annotations

import difflib
import importlib
import logging
import re
import shlex
import sys
import warnings
from collections.abc import Sequence

from maskrcnnpp.errors import CTRL_C_STATUS, MissingPackage, UserError, exit_on_user_error
from maskrcnnpp.version import __version__

COMMANDS = {
    "prepare dsb2018": "the 2018 Data Science Bowl nuclei as a COCO data set",
    "prepare isbi-em": "the membranes of ISBI 2012 as a semantic data set",
    "prepare semantic": "images and label images as a semantic data set",
    "prepare synthetic": "draw nuclei with exact masks, as a COCO data set",
    "convert": "convert a data set of nuclei or cells to COCO",
    "check": "find what is wrong with a COCO file, and repair a copy",
    "inspect": "one page about a data set, and settings that fit it",
    "export": "write a COCO data set as label images, PNGs or a table",
    "train": "train or evaluate a model",
    "predict": "find the objects of images with a trained model",
    "evaluate": "compare label images with the truth: how many objects were found",
    "view": "one page to look through what was predicted",
    "models": "list the trained models that come with the package, with a card each",
    "models pack": "make a model with a card of a training, to hand on",
    "prune": "prune a trained model to a smaller depth",
    "export-model": "write a trained model as ONNX, TorchScript or OpenVINO",
    "report": "report of a trained model: metrics and a sheet of images",
    "benchmark": "train and compare several models with several seeds",
    "install-detectron2": "install Detectron2 where there is none",
}

#: Commands that do without PyTorch, or ask for it themselves.
LIGHT = ("predict", "view", "models", "install-detectron2")


def main(argv: Sequence[str] | None = None, prog: str = "maskrcnnpp") -> int:
    """Run a command; the exit status.

    Args:
        argv: the command's name and its arguments. Default: those of this process.
        prog: how the command is called.

    Raises:
        SystemExit: the arguments are wrong, or the command ended with a :class:`UserError`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words in ([], ["-h"], ["--help"]):
        print(overview())
        return 0 if words else 2
    if words == ["--version"]:
        print(f"maskrcnnpp {__version__}")
        return 0
    with exit_on_user_error():
        name = _name_of(words)
        return run(name, words[len(name.split()) :], prog=f"{prog} {name}")


def run(name: str, words: Sequence[str], *, prog: str | None = None) -> int:
    """Run the command of a name; the exit status."""
    _ignore_warnings_of_libraries()
    module = re.sub(r"\W", "_", name)
    arguments = importlib.import_module(f"maskrcnnpp.commands.arguments.{module}")
    args = arguments.parse_args(words, prog)
    args.command = shlex.join(["maskrcnnpp", *name.split(), *words])  # for records of results
    try:
        if name not in LIGHT:
            importlib.import_module("maskrcnnpp.registration")
        return importlib.import_module(f"maskrcnnpp.commands.{module}").run(args) or 0
    except KeyboardInterrupt:
        how = "; the same command goes on where it was" if name == "predict" else ""
        print(f"stopped{how}", file=sys.stderr)
        return CTRL_C_STATUS
    except ModuleNotFoundError as error:
        if isinstance(error, UserError) or (error.name or "").startswith("maskrcnnpp"):
            raise
        extra = "" if name in LIGHT else "[train]"
        raise MissingPackage(
            f"maskrcnnpp {name} needs {error.name}, which is not installed: pip install "
            f"'maskrcnnpp{extra}'"
        ) from error


def run_script(name: str) -> None:
    """Run a command as a script of tools/ or datasets/, and exit."""
    with exit_on_user_error():
        sys.exit(run(name, sys.argv[1:]))


def overview() -> str:
    """Text that ``--help`` prints: every command in a line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {about}" for name, about in COMMANDS.items()]
    head = ["usage: maskrcnnpp COMMAND [ARGUMENTS]", "", "commands:"]
    return "\n".join([*head, *lines, "", "maskrcnnpp COMMAND --help shows a command's arguments."])


def _name_of(words: Sequence[str]) -> str:
    two, one = " ".join(words[:2]), words[0]
    for name in (two, one):
        if name in COMMANDS:
            return name
    if members := [name for name in COMMANDS if name.split()[0] == one]:
        raise UserError(f"maskrcnnpp {one} is followed by one of these: {', '.join(members)}")
    near = difflib.get_close_matches(one, COMMANDS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"there is no command {one!r}; {hint}maskrcnnpp --help lists them all")


def _ignore_warnings_of_libraries() -> None:
    """Ignore warnings that Detectron2, fvcore and torchvision cause with the newest PyTorch."""
    for message, kind in (
        (".torch.jit.script. is (deprecated|not supported)", FutureWarning),
        (".torch.jit.script. is", DeprecationWarning),
        ("torch.meshgrid: in an upcoming release", UserWarning),
        ("The given NumPy array is not writable", UserWarning),  # nobody writes to it
    ):
        warnings.filterwarnings("ignore", message, kind)
    for name in ("torch.fx._symbolic_trace", "torch.utils.cpp_extension"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())

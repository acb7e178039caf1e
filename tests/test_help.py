"""``--help`` of the commands: at once, and complete."""

import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.engine import default_argument_parser

from maskrcnnpp.check.validation.checks import KINDS, MAX_DETS
from maskrcnnpp.commands.arguments.train import argument_parser
from maskrcnnpp.convert.export import EXPORTS
from maskrcnnpp.convert.readers import READERS
from maskrcnnpp.convert.semantic.write import FRACTIONS
from maskrcnnpp.exporting import FORMATS
from maskrcnnpp.inference.options import PRECISIONS, Options
from maskrcnnpp.inference.writers import WRITERS

TOOLS = sorted(path for folder in ("tools", "datasets") for path in Path(folder).glob("*.py"))

CALL = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    slow = {"torch", "detectron2", "numpy", "cv2"} & set(sys.modules)
    sys.exit(f"imported {slow}" if slow else end.code)
"""


def help_of(tool, *words):
    command = [sys.executable, "-c", CALL, str(tool), *words]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_it_comes_before_what_is_slow_to_import(tool):
    done = help_of(tool, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
    done = help_of(tool, "--no-such-option")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        ("predict", [*WRITERS, *PRECISIONS]),
        ("convert_to_coco", ["auto", *READERS]),
        ("export_coco", EXPORTS),
        ("export_model", FORMATS),
        ("validate_coco", [*KINDS]),
        ("prepare_semantic", [f"{split}={part}" for split, part in FRACTIONS.items()]),
    ],
)
def test_it_names_all_there_is(tool, names):
    (path,) = (path for path in TOOLS if path.stem == tool)
    words = " ".join(help_of(path, "--help").stdout.split())
    assert not [name for name in names if name not in words]


def test_predict_says_the_defaults_of_its_options():
    (path,) = (path for path in TOOLS if path.stem == "predict")
    words = " ".join(help_of(path, "--help").stdout.split())
    default = Options()
    flags = {"--score": default.score_threshold, "--min-area": default.min_area}
    flags |= {"--tile-size": default.tile_size, "--overlap": default.overlap}
    flags |= {"--batch-size": default.batch_size, "--scales": int(*default.scales)}
    options = words.partition("options: ")[2]
    for flag, value in flags.items():
        about = options.partition(f"{flag} ")[2].partition(" --")[0]
        assert f"default {value}" in about, flag
    assert f"{default.precision} (default)" in words


def test_the_default_of_detections_is_that_of_the_checks():
    assert MAX_DETS == 500  # of `maskrcnnpp check`


def test_a_training_takes_the_arguments_of_detectron2():
    def arguments(parser):
        return {
            action.dest: (action.option_strings, action.default, action.type, action.nargs)
            for action in parser._actions
            if action.dest not in ("help", "opts")
        }

    ours, theirs = arguments(argument_parser()), arguments(default_argument_parser())
    assert {name: ours[name] for name in theirs} == theirs
    words = ["--config-file", "a.yaml", "--resume", "SEED", "3"]
    ours, theirs = argument_parser().parse_args(words), default_argument_parser().parse_args(words)
    assert vars(ours).items() >= vars(theirs).items()
    assert ours.opts == ["SEED", "3"]

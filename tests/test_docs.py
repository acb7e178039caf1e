"""README and docs/: their commands, configs, Python and links; and the first steps, run."""

import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile
import yaml
from fvcore.common.config import CfgNode

from maskrcnnpp import cli
from maskrcnnpp.config_reader import build_config

ROOT = Path(__file__).resolve().parents[1]
# pages that people write; those of docs/benchmarks are written by scripts from records
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "MODEL_ZOO.md")),
    ROOT / "datasets/README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "benchmarks" not in path.parts),
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()#\s:]*)(?:#([^()\s]*))?\)")
SCRIPT = re.compile(r"python (?:tools|datasets|docs/[\w/]+)/\w+\.py")
OF_SHELL = {"git", "make", "pip", ".", "export", "torchrun"}


def relative(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    return [text for name, text in FENCED.findall(page.read_text()) if name == language]


def commands(page):
    """Words of each command in the shell blocks of a page, without comments."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def own_command(words):
    """Name and arguments of a command of this project; None for any other."""
    if words[:1] == ["torchrun"]:
        words = words[words.index("-m") + 1 :]
    if words[0] == "python":
        name = re.search(r'run_script\("(.+)"\)', (ROOT / words[1]).read_text())[1]
        return name, words[2:]
    if words[0] != "maskrcnnpp" or words[1].startswith("-"):
        return None
    name = next(n for n in (" ".join(words[1:3]), words[1]) if n in cli.COMMANDS)
    return name, words[1 + len(name.split()) :]


def parsed(words):
    name, arguments = own_command(words)
    module = re.sub(r"\W", "_", name)
    return importlib.import_module(f"maskrcnnpp.commands.arguments.{module}").parse_args(arguments)


ALL = [(page, words) for page in PAGES for words in commands(page)]
OURS = [words for _, words in ALL if words[0] not in OF_SHELL - {"torchrun"} and own_command(words)]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_block_names_its_language(page):
    languages = {name for name, _ in FENCED.findall(page.read_text())}
    assert languages <= {"sh", "python", "yaml", "text"}, languages
    assert not re.search(r"^ {4}(maskrcnnpp|python|make) ", FENCED.sub("", page.read_text()), re.M)
    assert {words[0] for words in commands(page)} <= OF_SHELL | {"maskrcnnpp", "python"}


@pytest.mark.parametrize("words", OURS, ids=lambda words: shlex.join(words)[:70])
def test_commands_parse_and_their_configs_build(words):
    args = vars(parsed(words))
    files = args.get("config_file") or []
    opts = [word for word in args.get("opts") or [] if word != "--"]
    for file in [files] if isinstance(files, str) else files:
        if file.startswith("output/"):  # which a command before has written
            file = "configs/quick/maskrcnnpp_R_18_embedded.yaml"
        build_config(file, opts)


def test_make_and_pip_name_what_there_is():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = re.findall(r"^([\w-]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for page, words in ALL:
        if words[0] == "make":
            assert words[1] in targets, (page, words)
    for page in PAGES:
        for named in re.findall(r"(?:maskrcnnpp|\.)\[([\w,-]+)\]", page.read_text()):
            assert set(named.split(",")) <= set(extras), (page, named)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_in_sentences_and_scripts_exist(page):
    text = page.read_text()
    for words in re.findall(r"`maskrcnnpp ([a-z0-9 -]+)", text):
        words = words.split()
        assert words[0] in {name.split()[0] for name in cli.COMMANDS} | {"--help"}, words
    for script in SCRIPT.findall(text):
        assert (ROOT / script.removeprefix("python ")).is_file(), script


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_paths_and_names_in_sentences_exist(page):
    text = FENCED.sub("", page.read_text())
    for path in re.findall(r"`((?:maskrcnnpp|configs|tests|tools|docs)/[\w./]+\b/?)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path
    for name in re.findall(r"`(?:model = )?(maskrcnnpp(?:\.\w+)+)", text):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_python_compiles_and_yaml_sets_known_keys(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
        for line in re.findall(r"^from (maskrcnnpp\S*) import (\w+)", block, re.MULTILINE):
            assert hasattr(importlib.import_module(line[0]), line[1])
    for block in blocks(page, "yaml"):
        build_config("").clone().merge_from_other_cfg(CfgNode(yaml.safe_load(block)))


def anchors(page):
    """Of the headings of a page, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    for path, anchor in LINK.findall(FENCED.sub("", page.read_text())):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_keys_of_the_reference_are_those_of_the_config():
    spec = importlib.util.spec_from_file_location("config_keys", "docs/reference/config_keys.py")
    config_keys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(config_keys)
    page = config_keys.page()
    assert config_keys.PAGE.read_text() == page, "run python docs/reference/config_keys.py"
    assert "|  |" not in page, "a key without a comment"


def test_the_first_steps_lead_to_a_prediction(tmp_path):
    """The commands of getting-started.md, with few and small images and two iterations."""
    steps = [words for words in commands(ROOT / "docs/getting-started.md") if own_command(words)]
    prepare, find, train, predict = [
        words
        for words in steps
        if words[1:3] == ["prepare", "synthetic"]
        or words[-1] == "found"
        or "output/first" in " ".join(words)
    ]
    prepare += shlex.split("--train 2 --val 1 --test 1 --size 64 64 --count 3 6")
    train += shlex.split(
        "SOLVER.MAX_ITER 2 SOLVER.STEPS () SOLVER.IMS_PER_BATCH 1 INPUT.CROP.SIZE [64,64] "
        "MODEL.RPN.POST_NMS_TOPK_TEST 20 MODEL.DEVICE cpu"
    )
    predict += shlex.split("--score 0")
    lists = [
        [re.sub("^configs/", f"{ROOT}/configs/", word) for word in words[1:]]
        for words in (prepare, find, train, predict)
    ]
    # a process of its own: a training sets up loggers, and registers data sets
    code = "import json, sys; from maskrcnnpp import cli\n"
    code += "for words in json.loads(sys.argv[1]): assert cli.main(words) == 0, words"
    env = {name: value for name, value in os.environ.items() if name != "DETECTRON2_DATASETS"}
    env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lists)],
        cwd=tmp_path, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "found").glob("val_*.labels.tif"))) == 1
    (labels,) = (tmp_path / "predicted").glob("*.labels.tif")
    assert tifffile.imread(labels).shape == (64, 64)
    assert len(list((tmp_path / "predicted").glob("test_0000.png.*"))) == 3
    assert {"model_final.pth", "config.yaml", "curves.png", "predictions.png"} <= {
        path.name for path in (tmp_path / "output/first").iterdir()
    }

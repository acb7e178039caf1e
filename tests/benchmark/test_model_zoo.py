"""The configs that are compared, and MODEL_ZOO.md, which names them."""

import shlex
from pathlib import Path

import detectron2
import pytest
from detectron2.modeling import build_model

from maskrcnnpp.benchmark.fingerprint import config_fingerprint
from maskrcnnpp.benchmark.results import RESULTS_FILE, load
from maskrcnnpp.engine import build_config

#: What an arm may change: the pyramid, and how the mask head reads it and learns.
COMPARED = ("MODEL.BACKBONE.NAME", "MODEL.FPN", "MODEL.NESTED_FPN", "MODEL.ROI_HEADS.NAME")
MASK_HEAD = ("NAME", "DEEP_SUPERVISION")
RUN = sorted(Path("docs/benchmarks").rglob(RESULTS_FILE))
ARMS = sorted(str(path) for path in Path("configs/benchmark/lite0").glob("*"))
STOCK = "configs/cpu/mask_rcnn_lite0_FPN.yaml"
FAST = "configs/cpu/maskrcnnpp_lite0_fast.yaml"
OURS = "configs/cpu/maskrcnnpp_lite0_nested_fpn.yaml"
#: What the control of enlarged images changes instead.
ENLARGED = ("INPUT.SCALE", "INPUT.CROP.SIZE", "MODEL.ANCHOR_GENERATOR.SIZES")


def without_what_is_compared(config_file, keys):
    cfg = build_config(config_file)
    cfg.defrost()
    for key in keys:
        *path, last = key.split(".")
        node = cfg
        for name in path:
            node = node[name]
        del node[last]
    cfg.OUTPUT_DIR = ""
    cfg.TEST.EXPECTED_RESULTS = []
    return cfg


def parameters(config_file):
    model = build_model(build_config(config_file, ["MODEL.DEVICE", "cpu"]))
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("config_file", ARMS)
def test_arms_differ_from_stock_only_in_what_is_compared(config_file):
    keys = (*COMPARED, *(f"MODEL.ROI_MASK_HEAD.{name}" for name in MASK_HEAD))
    if "twofold" in config_file:
        keys = ENLARGED
    other = FAST if Path(config_file).stem == "fast_L1" else STOCK
    assert without_what_is_compared(config_file, keys) == without_what_is_compared(other, keys)


def test_every_control_has_a_row():
    rows = Path("MODEL_ZOO.md").read_text().partition("## Controls")[2]
    words = [word.strip(",") for row in rows.splitlines() for word in row.split(" |")[0].split()]
    assert {Path(file).stem for file in ARMS} <= set(words)


def test_the_wide_control_has_the_parameters_of_ours():
    wide = parameters("configs/benchmark/lite0/mask_rcnn_wide.yaml")
    assert wide / parameters(OURS) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.parent.name)
def test_results_are_of_the_configs_they_are_shown_with(path):
    results = load(path)
    words = shlex.split(results["command"])
    opts = words[words.index("--opts") + 1 :] if "--opts" in words else []
    for trial in results["trials"]:
        if "external" in trial or trial["versions"]["detectron2"] != detectron2.__version__:
            continue  # another Detectron2 has other keys
        device = "cpu" if trial["machine"]["gpu"] == "none" else "cuda"
        fixed = ["SEED", str(trial["seed"]), "TEST.EXPECTED_RESULTS", "[]", "MODEL.DEVICE", device]
        cfg = build_config(trial["config_file"], [*opts, *fixed])
        if cfg.MODEL.WEIGHTS.startswith("/") and not Path(cfg.MODEL.WEIGHTS).is_file():
            continue  # weights that lay on that machine; they count by their content
        assert config_fingerprint(cfg) == trial["fingerprint"]["config"], trial["config_file"]

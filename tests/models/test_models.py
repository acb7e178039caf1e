"""Models by name, file and address: packed from a tiny model of random weights."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.modeling import build_model
from PIL import Image

from maskrcnnpp import Predictor, cli, models
from maskrcnnpp.config_reader import build_config, changed_keys
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.checkpoint import Checkpointer, read_checkpoint
from maskrcnnpp.models import EXPORTED_FILE, card_text, find_model

CARD = {
    "name": "tiny", "version": "0.1", "purpose": "tests", "data": "none", "licence": "CC0",
    "metrics": "none", "limits": ["finds nothing"], "classes": ["cell"],
    "options": {"score_threshold": 0.25},
}  # fmt: skip


@pytest.fixture
def training(tiny_cfg, tmp_path):
    """Config and weights of a model; heads that are sure of something."""
    torch.manual_seed(0)
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    return [
        "--config-file",
        str(tmp_path / "config.yaml"),
        "--weights",
        str(tmp_path / "model.pth"),
    ]


@pytest.fixture
def packed(training, tmp_path):
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(CARD))
    words = ["--card", str(tmp_path / "card.yaml"), "--output", str(tmp_path / "tiny")]
    cli.run("models pack", [*training, *words, "--no-onnx"])
    return tmp_path / "tiny"


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_a_packed_model_is_the_training_in_half_precision(packed, training, image):
    weights = read_checkpoint(find_model(str(packed)).weights_file)["model"]
    original = read_checkpoint(training[3])["model"]
    assert weights.keys() == original.keys()
    for name, weight in original.items():
        expected = weight.half().float() if weight.dim() > 1 else weight
        assert torch.equal(weights[name], expected), name
    assert packed.joinpath("weights.safetensors").stat().st_size < 0.6 * 4 * sum(
        x.numel() for x in original.values()
    )
    ours = Predictor.load(packed, score_threshold=0.0)(image)
    theirs = Predictor.load(training[1], training[3], score_threshold=0.0)(image)
    assert len(ours) == len(theirs) > 0
    assert np.allclose(ours.scores, theirs.scores, atol=1e-2)


def test_a_packed_model_runs_as_an_onnx_file_too(packed, training, image):
    assert not (packed / EXPORTED_FILE).exists() and find_model(str(packed)).exported_file is None
    words = ["--card", str(packed.parent / "card.yaml"), "--output", str(packed)]
    cli.run("models pack", [*training, *words])
    options = {"score_threshold": 0.0, "overlaps": "keep"}
    onnx = Predictor.load(packed, backend="onnx", **options)(image)
    torch = Predictor.load(packed, backend="torch", **options)(image)
    assert len(onnx) == len(torch) > 0
    assert np.abs(np.sort(onnx.scores) - np.sort(torch.scores)).max() < 1e-4
    # in half precision, as the weights
    sizes = [(packed / name).stat().st_size for name in (EXPORTED_FILE, "weights.safetensors")]
    assert sizes[0] < 1.3 * sizes[1]


def test_the_config_holds_what_differs_from_the_defaults(packed, training):
    of_machine = ["OUTPUT_DIR", "x", "SEED", "0", "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "x"]
    files = (packed / "config.yaml", training[1])
    small, whole = (build_config(str(file), of_machine) for file in files)
    assert changed_keys(small) == changed_keys(whole)
    text = (packed / "config.yaml").read_text()
    assert len(text) < 0.3 * len(whole.dump())
    assert not [key for key in ("OUTPUT_DIR", "DEVICE", "SEED") if key in text]


def test_folder_archive_and_address_are_the_same_model(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = shutil.make_archive(str(tmp_path / "tiny"), "zip", tmp_path, "tiny")
    digest = hashlib.sha256(open(archive, "rb").read()).hexdigest()
    address = f"file://{archive}#sha256:{digest}"
    for name in (str(packed), archive):
        assert find_model(name).title == "tiny 0.1"
    monkeypatch.setattr(models, "_fetched", lambda name: Path(archive))
    assert find_model(address).card == find_model(str(packed)).card


@pytest.mark.parametrize("address", ["https://x.org/m.zip", "https://x.org/m.zip#sha256:12"])
def test_an_address_needs_its_hash(address):
    with pytest.raises(ConfigError, match="add the hash of the archive, #sha256:"):
        find_model(address)


def test_an_archive_whose_hash_differs(packed, tmp_path, monkeypatch):
    def retrieve(url, known_hash, path):
        raise ValueError(f"SHA256 hash of downloaded file does not match {known_hash}")

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(ConfigError, match="m.zip is not what its hash says: SHA256"):
        find_model(f"https://x.org/m.zip#sha256:{'0' * 64}")


@pytest.mark.parametrize(("former", "name"), models.FORMER.items())
def test_a_model_is_found_by_its_former_name(former, name):
    assert find_model(former) == find_model(f"maskrcnnpp://{former}") == find_model(name)
    assert former not in models.shipped()


def test_what_is_no_model_is_named(packed, training, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no model 'nucleii'; did you mean nuclei[?] choose one"):
        find_model("nucleii")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="not a model: card.yaml, config.yaml, .*--weights"):
        find_model(str(tmp_path / "empty"))
    weights = packed / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ConfigError, match="weights.safetensors is damaged or was replaced"):
        find_model(str(packed))
    (packed / "card.yaml").write_text("name: tiny\n")
    with pytest.raises(ConfigError, match="card.yaml is not the card of a model: it lacks version"):
        find_model(str(packed))
    (packed / "card.yaml").write_text("[")
    with pytest.raises(ConfigError, match="card.yaml cannot be read"):
        find_model(str(packed))


def test_a_card_without_an_entry(training, tmp_path):
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**CARD, "limits": None}))
    words = ["--card", str(tmp_path / "card.yaml"), "--output", str(tmp_path / "tiny")]
    with pytest.raises(ConfigError, match="the card lacks limits"):
        cli.run("models pack", [*training, *words])
    assert not (tmp_path / "tiny").exists()


def test_predict_takes_the_tuned_options_unless_others_are_given(packed, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "a.png")
    words = [str(tmp_path / "a.png"), "--model", str(packed), "--output"]
    assert cli.run("predict", [*words, str(tmp_path / "one"), "--format", "csv", "coco"]) == 0
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    assert record["settings"]["score_threshold"] == 0.25
    assert record["calls"][0]["model"] == "tiny 0.1"
    assert cli.run("predict", [*words, str(tmp_path / "two"), "--score", "0"]) == 0
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert record["settings"]["score_threshold"] == 0
    assert ",cell," in (tmp_path / "two" / "a.png.csv").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config-file", "a.yaml"], "--config-file and --weights go together"),
        (["--weights", "a.pth"], "--config-file and --weights go together"),
        (
            ["--model", "nuclei", "--config-file", "a", "--weights", "b"],
            "--model has its own config and weights",
        ),
    ],
)
def test_a_model_or_a_training(words, message, capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "a.png", "--output", "out", *words])
    assert message in capsys.readouterr().err


def test_a_training_begins_with_a_model_by_name(packed, tiny_cfg, monkeypatch):
    monkeypatch.setattr(models, "_SHIPPED", packed.parent)
    tiny_cfg.MODEL.WEIGHTS = "maskrcnnpp://tiny"
    model = build_model(tiny_cfg)
    checkpointer = Checkpointer(model)
    checkpointer.load(tiny_cfg.MODEL.WEIGHTS)
    assert not checkpointer.unfilled
    expected = read_checkpoint(packed / "weights.safetensors")["model"]
    assert torch.equal(model.state_dict()["backbone.fpn_output2.weight"],
                       expected["backbone.fpn_output2.weight"])  # fmt: skip
    with pytest.raises(ConfigError, match="there is no model 'none'"):
        find_model("maskrcnnpp://none")


def test_cards_are_shown(packed, monkeypatch, capsys):
    monkeypatch.setattr(models, "_SHIPPED", packed.parent)
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny 0.1: tests\n") and "    - finds nothing" in out
    assert out.strip() == card_text(find_model("tiny"))
    with pytest.raises(SystemExit):
        cli.main(["models", "other"])

"""Configs come from files of this machine."""

import pytest

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.errors import ConfigError


@pytest.fixture
def fetched(monkeypatch):
    """What is asked of a network, which there is none of."""
    asked = []

    def fetch(url, *args, **kwargs):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("iopath.common.file_io.download", fetch)
    monkeypatch.setattr("socket.getaddrinfo", fetch)
    return asked


@pytest.mark.parametrize(
    "base",
    [
        "http://127.0.0.1:9/a.yaml",
        "https://127.0.0.1:9/a.yaml",
        "HTTP://127.0.0.1:9/a.yaml",
        "detectron2://a.yaml",
        "['other.yaml', 'http://127.0.0.1:9/a.yaml']",
    ],
)
def test_a_base_is_not_fetched(tmp_path, fetched, base):
    (tmp_path / "other.yaml").write_text("VERSION: 2\n")
    (tmp_path / "middle.yaml").write_text(f"_BASE_: {base}\nVERSION: 2\n")
    (tmp_path / "a.yaml").write_text("_BASE_: middle.yaml\n")
    with pytest.raises(
        ConfigError, match="a.yaml is not a file of this machine, .* not fetched: save"
    ):
        build_config(str(tmp_path / "a.yaml"))
    if base.startswith("http"):
        with pytest.raises(ConfigError, match="not fetched"):
            build_config(base)
    assert not fetched


def test_bases_of_files_are_read(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "a.yaml").write_text("SEED: 5\n")
    (tmp_path / "below" / "b.yaml").write_text("_BASE_: ../a.yaml\nOUTPUT_DIR: ä\n")
    cfg = build_config(str(tmp_path / "below" / "b.yaml"))
    assert (cfg.SEED, cfg.OUTPUT_DIR) == (5, "ä")
    (tmp_path / "c.yaml").write_text("_BASE_: nowhere.yaml\n")
    with pytest.raises(ConfigError, match="cannot read the config .*nowhere.yaml: No such file"):
        build_config(str(tmp_path / "c.yaml"))


def test_an_option_after_the_pairs_is_named():
    with pytest.raises(ConfigError, match="--resume stands after KEY VALUE pairs; options go be"):
        build_config("", ["SEED", "1", "--resume"])


@pytest.mark.parametrize(
    ("key", "word", "value"),
    [
        ("DATASETS.TRAIN", "my/a.json", ("my/a.json",)),
        ("DATASETS.TRAIN", "('my/a.json')", ("my/a.json",)),
        ("DATASETS.TRAIN", "('a', 'b')", ("a", "b")),
        ("SOLVER.STEPS", "30", (30,)),
        ("INPUT.CHANNELS", "2", [2]),
        ("SOLVER.BASE_LR", "1", 1.0),
        ("DATASETS.TRAIN", "2018", ("2018",)),
    ],
)
def test_a_single_value_is_a_list_where_the_key_has_one(key, word, value):
    node = build_config("", [key, word])
    for name in key.split("."):
        node = getattr(node, name)
    assert node == value and type(node) is type(value)


@pytest.mark.parametrize("pair", [("INPUT.CROP.SIZE", "128"), ("SOLVER.STEPS", "True")])
def test_other_lists_want_a_list(pair):
    with pytest.raises(ConfigError, match="Type mismatch"):
        build_config("", pair)


def test_a_misspelt_config_of_this_project_is_told_by_its_likest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean recipes/finetune_nuclei.yaml"):
        build_config("maskrcnnpp://recipes/finetune_nucleii.yaml")
    with pytest.raises(ConfigError, match="there are: Base-RCNN-FPN.yaml, .*semantic/unet.yaml"):
        build_config("maskrcnnpp://what.yaml")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ConfigError, match="a.png: it is no text, and so no config"):
        build_config(str(tmp_path / "a.png"))

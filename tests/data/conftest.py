import pytest


@pytest.fixture(autouse=True)
def _default_root(monkeypatch):
    """The tests see no data sets of the machine they run on."""
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)


@pytest.fixture(params=["zip", "folder"])
def kind(request) -> str:
    """What a source is."""
    return request.param

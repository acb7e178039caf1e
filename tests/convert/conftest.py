import pytest


@pytest.fixture(params=["zip", "folder"])
def kind(request) -> str:
    """What a source is."""
    return request.param

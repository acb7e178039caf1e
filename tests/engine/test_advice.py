import pytest
import torch

from maskrcnnpp.engine.advice import advice_on_memory
from maskrcnnpp.errors import ConfigError


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "IMS_PER_BATCH"),
        (MemoryError(), "INPUT.CROP.SIZE"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "NUM_WORKERS"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "NUM_WORKERS"),
    ],
)
def test_the_keys_to_change_are_named(error, key):
    with pytest.raises(ConfigError, match=key), advice_on_memory():
        raise error


def test_a_real_failure_to_allocate():
    with pytest.raises(ConfigError, match="out of memory: lower SOLVER"), advice_on_memory():
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_stay():
    with pytest.raises(RuntimeError, match="^shapes differ$"), advice_on_memory():
        raise RuntimeError("shapes differ")

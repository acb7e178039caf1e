import numpy as np
import pytest
import tifffile

from maskrcnnpp.errors import DataError
from maskrcnnpp.images.display import read_rgb


def test_16_bits_and_two_channels_are_seen(tmp_path):
    planes = np.stack([np.linspace(0, 4000, 64 * 48), np.linspace(900, 300, 64 * 48)])
    tifffile.imwrite(
        tmp_path / "a.tif", planes.reshape(2, 64, 48).astype(np.uint16), metadata={"axes": "CYX"}
    )
    seen = read_rgb(tmp_path / "a.tif")
    assert (seen.shape, seen.dtype) == ((64, 48, 3), np.uint8)
    assert seen[0, 0].tolist() == [0, 255, 0] and seen[-1, -1].tolist() == [255, 0, 0]


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="a.png cannot be read as an image"):
        read_rgb(tmp_path / "a.png")

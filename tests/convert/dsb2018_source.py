"""Small sources in the DSB2018 layout, for the tests beside this."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "png")
    return buffer.getvalue()


def mask(top: int, left: int, height: int, width: int, shape=(12, 16), value=255) -> bytes:
    full = np.zeros(shape, np.uint8)
    full[top : top + height, left : left + width] = value
    return png(full)


NOISE = np.random.default_rng(0).integers(0, 60, (12, 16, 4), dtype=np.uint8)


def good_files(ids: str = "abcdef") -> dict[str, bytes]:
    """A source of small images with two objects each."""
    files = {}
    for name in ids:
        files[f"{name}/images/{name}.png"] = png(NOISE)
        files[f"{name}/masks/1.png"] = mask(1, 2, 3, 4)
        files[f"{name}/masks/2.png"] = mask(10, 14, 2, 2)
    return files


def write_source(path: Path, files: dict[str, bytes], kind: str) -> Path:
    if kind == "zip":
        path = path / "source.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    path = path / "source"
    path.mkdir()
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path

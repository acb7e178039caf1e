"""An OME-Zarr image for tests."""

import pytest

zarr = pytest.importorskip("zarr", minversion="3.0")  # Python 3.10 has zarr 2

ABOUT = {name: {"type": "space", "unit": "micrometer"} for name in "zyx"}
ABOUT |= {"t": {"type": "time", "unit": "second"}, "c": {"type": "channel"}}


def write(
    path, pixels, axes="yx", version="0.4", *, scale=0.5, levels=2, chunk=32, shards=None, **more
):
    """An image as its specification says; each level has every second pixel of the one above."""
    about = [{"name": name, **ABOUT[name]} for name in axes]
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for level in range(levels):
        kept = tuple(slice(None, None, 2**level if a in "yx" else 1) for a in axes)
        array = group.create_array(
            str(level),
            shape=pixels[kept].shape,
            chunks=tuple(chunk if a in "yx" else 1 for a in axes),
            shards=shards,
            dimension_names=list(axes) if version == "0.5" else None,
            dtype=pixels.dtype,
        )
        array[...] = pixels[kept]
        factors = [scale * 2**level if a in "yx" else 1.0 for a in axes]
        transforms = [{"type": "scale", "scale": factors}]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    ome = {"multiscales": [{"version": version, "axes": about, "datasets": datasets}], **more}
    group.attrs.update(ome if version == "0.4" else {"ome": {"version": version, **ome}})
    return path

"""Believable pictures of fluorescent nuclei with exact masks, from a seed.

For demos and tests that need no download, and for pictures with any number of objects. All work
on a nucleus is done inside its own box, so that the time is in proportion to the nuclei's area.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from maskrcnnpp.coco.categories import NUCLEUS_ID
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.masks.crop import Crop

Range = tuple[float, float]

_PLACEMENT_TRIES = 25
_TEXTURE_SIZE = 512


@dataclass(frozen=True)
class NucleiParameters:
    """Appearance of the pictures. A pair is a range from which values are drawn uniformly.

    Light is in units of a typical nucleus's brightness.
    """

    # drawn once an image
    radius: Range = (6.0, 11.0)  # median over the nuclei, pixels
    exposure: Range = (0.2, 0.75)  # a typical nucleus's grey value, as a fraction of 255
    background: Range = (0.02, 0.12)
    haze: Range = (0.05, 0.25)  # light of the nuclei that is spread far around them
    vignetting: Range = (0.0, 0.4)  # loss of light at the far corner, as a fraction
    photons: Range = (60.0, 500.0)  # counted at brightness 1: fewer is noisier
    read_noise: Range = (0.004, 0.015)  # standard deviation
    focus_blur: Range = (0.5, 1.1)  # standard deviation, pixels
    # drawn once a nucleus
    radius_spread: float = 0.22  # standard deviation of the radius's logarithm
    elongation: Range = (1.0, 1.8)  # long axis / short axis
    irregularity: Range = (0.01, 0.06)  # size of the outline's waves, as a fraction of the radius
    brightness_spread: float = 0.25  # standard deviation of the brightness's logarithm
    texture: Range = (0.06, 0.2)  # standard deviation of the chromatin's brightness
    nucleoli: tuple[int, int] = (0, 4)  # number of dim spots, both ends included
    out_of_focus_fraction: float = 0.08
    out_of_focus_blur: Range = (1.5, 3.0)  # on top of focus_blur, pixels
    # where nuclei lie
    clustered_fraction: float = 0.4  # put beside another nucleus, to touch or overlap it
    max_overlap: float = 0.15  # of a nucleus's area, wherever there is room enough


class _Nucleus(NamedTuple):
    """A nucleus on a small grid of its own, (size, size), whose centre is the centre pixel."""

    mask: np.ndarray  # bool
    light: np.ndarray  # float32, already blurred; reaches beyond the mask
    radius: float


def generate_nuclei(
    rng: np.random.Generator | int,
    height: int,
    width: int,
    count: int,
    parameters: NucleiParameters | None = None,
) -> tuple[np.ndarray, list[Crop]]:
    """Draw one picture.

    Args:
        rng: random generator, or a seed.
        height, width: of the picture, pixels, at least 1.
        count: nuclei to draw, 0 or more. More than fit side by side overlap more than
            ``parameters.max_overlap``.
        parameters: what it looks like.

    Returns:
        the picture, uint8 (height, width), and ``count`` masks, none of them empty. Where nuclei
        overlap, the pixels belong to both masks and their light adds up.

    Raises:
        ValueError: a size or count is out of range.
    """
    if height < 1 or width < 1 or count < 0:
        raise ValueError(f"cannot draw {count} nuclei on {height}x{width} pixels")
    rng = np.random.default_rng(rng)
    parameters = parameters or NucleiParameters()
    radius = rng.uniform(*parameters.radius)
    focus_blur = rng.uniform(*parameters.focus_blur)
    texture = _band_limited_noise(rng, _TEXTURE_SIZE)

    light = np.zeros((height, width), np.float32)
    occupied = np.zeros((height, width), bool)
    placed: list[tuple[float, float, float]] = []  # y, x, radius
    masks = []
    for _ in range(count):
        nucleus = _draw_nucleus(rng, radius, focus_blur, texture, parameters)
        y, x = _place(rng, nucleus, occupied, placed, parameters)
        placed.append((y, x, nucleus.radius))
        image_box, own_box = _clip(y, x, len(nucleus.light), height, width)
        light[image_box] += nucleus.light[own_box]
        mask = nucleus.mask[own_box]
        occupied[image_box] |= mask
        crop = Crop(image_box[0].start, image_box[1].start, mask).tight()
        masks.append(replace(crop, pixels=crop.pixels.copy()))  # not the nucleus' whole grid
    return _expose(rng, light, parameters), masks


def synthetic_samples(
    images: int,
    *,
    height: int = 256,
    width: int = 256,
    count: tuple[int, int] = (10, 60),
    seed: int = 0,
    prefix: str = "nuclei",
    parameters: NucleiParameters | None = None,
) -> Iterator[Sample]:
    """Yield ``images`` pictures as samples named ``<prefix>_0000``, ...

    Picture i depends on the seed, the prefix and i only, not on how many are drawn.

    Args:
        images: how many.
        height, width: of each, pixels.
        count: smallest and largest number of nuclei, both included.
        seed: 0 or more.
        prefix: of the names.
        parameters: what they look like.
    """
    for index in range(images):
        rng = np.random.default_rng([seed, zlib.crc32(prefix.encode()), index])
        nuclei = int(rng.integers(count[0], count[1] + 1))
        image, masks = generate_nuclei(rng, height, width, nuclei, parameters)
        yield Sample(
            name=f"{prefix}_{index:04d}",
            image=cv2.imencode(".png", image)[1].tobytes(),
            suffix=".png",
            height=height,
            width=width,
            masks=tuple(mask.rle(height, width) for mask in masks),
            category_ids=(NUCLEUS_ID,) * len(masks),
            stain="fluorescence",
        )


def _draw_nucleus(
    rng: np.random.Generator,
    median_radius: float,
    focus_blur: float,
    texture: np.ndarray,
    p: NucleiParameters,
) -> _Nucleus:
    # not larger than a texture tile, whatever the parameters
    radius = min(median_radius * rng.lognormal(sigma=p.radius_spread), _TEXTURE_SIZE / 8)
    radius = max(radius, 1.0)
    blur = focus_blur
    if rng.random() < p.out_of_focus_fraction:
        blur = np.hypot(blur, rng.uniform(*p.out_of_focus_blur))
    stretch = np.sqrt(rng.uniform(*p.elongation))
    half = int(np.ceil(radius * stretch * 1.3 + 3 * blur))
    half = min(half, _TEXTURE_SIZE // 2 - 1)

    # coordinates in which the nucleus, less its waves, is the unit disk
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    u = (np.cos(turn) * x + np.sin(turn) * y) / (radius * stretch)
    v = (np.cos(turn) * y - np.sin(turn) * x) / (radius / stretch)
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    outline = np.ones_like(distance)
    size = rng.uniform(*p.irregularity)
    for wave in (2, 3, 4, 5):
        # short waves are lower, or nuclei look angular
        amplitude = size * rng.normal() * 2 / wave
        outline += amplitude * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    outline = np.maximum(outline, 0.5)
    mask = distance <= outline

    # thickest in the middle; the edge is smooth over one pixel
    light = np.clip((outline - distance) * radius + 0.5, 0, 1)
    light *= 1 - 0.3 * np.minimum(distance / outline, 1) ** 2
    top, left = rng.integers(0, _TEXTURE_SIZE - 2 * half, 2)
    tile = texture[top : top + 2 * half + 1, left : left + 2 * half + 1]
    light *= np.maximum(1 + rng.uniform(*p.texture) * tile, 0.1)
    for _ in range(rng.integers(p.nucleoli[0], p.nucleoli[1] + 1)):
        # even over the inner disk
        away, where = 0.6 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        apart = np.hypot(u - away * np.cos(where), v - away * np.sin(where))
        light *= 1 - rng.uniform(0.1, 0.4) * np.exp(-((apart / rng.uniform(0.12, 0.25)) ** 2))
    light *= rng.lognormal(sigma=p.brightness_spread)
    light = cv2.GaussianBlur(light.astype(np.float32), (0, 0), blur)
    return _Nucleus(mask, light, radius)


def _place(
    rng: np.random.Generator,
    nucleus: _Nucleus,
    occupied: np.ndarray,
    placed: list[tuple[float, float, float]],
    p: NucleiParameters,
) -> tuple[int, int]:
    """The centre, inside the picture: of several tries, the first that overlaps little enough."""
    height, width = occupied.shape
    clustered = bool(placed) and rng.random() < p.clustered_fraction
    best, least = (0, 0), np.inf
    for _ in range(_PLACEMENT_TRIES):
        if clustered:
            near_y, near_x, near_radius = placed[rng.integers(len(placed))]
            away, where = rng.uniform(0.8, 1.1), rng.uniform(0, 2 * np.pi)
            away *= near_radius + nucleus.radius
            y, x = int(near_y + away * np.sin(where)), int(near_x + away * np.cos(where))
            if not (0 <= y < height and 0 <= x < width):
                continue
        else:
            y, x = int(rng.integers(height)), int(rng.integers(width))
        image_box, own_box = _clip(y, x, len(nucleus.mask), height, width)
        mask = nucleus.mask[own_box]
        overlap = np.count_nonzero(occupied[image_box] & mask) / np.count_nonzero(mask)
        if overlap < least:
            best, least = (y, x), overlap
        if overlap <= (p.max_overlap if clustered else 0):
            break
    if least == np.inf:  # every neighbouring place was outside
        best = (int(rng.integers(height)), int(rng.integers(width)))
    return best


def _clip(
    y: int, x: int, size: int, height: int, width: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a (size, size) grid centred on (y, x) lies: in the picture, and the part of it."""
    top, left = y - size // 2, x - size // 2
    image_box, own_box = [], []
    for start, limit in ((top, height), (left, width)):
        low, high = max(start, 0), min(start + size, limit)
        image_box.append(slice(low, high))
        own_box.append(slice(low - start, high - start))
    return tuple(image_box), tuple(own_box)


def _expose(rng: np.random.Generator, light: np.ndarray, p: NucleiParameters) -> np.ndarray:
    """Background, uneven light, noise and conversion to 8 bit."""
    height, width = light.shape
    # far-spread light is smooth: computed on a small copy
    small = cv2.resize(
        light, (max(width // 8, 1), max(height // 8, 1)), interpolation=cv2.INTER_AREA
    )
    haze = cv2.GaussianBlur(small, (0, 0), 2.5)
    haze = cv2.resize(haze, (width, height), interpolation=cv2.INTER_CUBIC)
    light = light + rng.uniform(*p.haze) * haze + rng.uniform(*p.background)

    centre_y, centre_x = rng.uniform(0.2, 0.8, 2)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None] - np.float32(centre_y)
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :] - np.float32(centre_x)
    far = max(centre_y, 1 - centre_y) ** 2 + max(centre_x, 1 - centre_x) ** 2
    light *= 1 - rng.uniform(*p.vignetting) * (y**2 + x**2) / far

    photons = rng.uniform(*p.photons)
    light = rng.poisson(np.maximum(light, 0) * photons).astype(np.float32) / np.float32(photons)
    light += rng.uniform(*p.read_noise) * rng.standard_normal(light.shape, dtype=np.float32)
    return np.clip(np.rint(light * rng.uniform(*p.exposure) * 255), 0, 255).astype(np.uint8)


def _band_limited_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """float32 (size, size), mean 0, standard deviation 1, grains of a few pixels."""
    noise = rng.standard_normal((size, size), dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 1.2) - cv2.GaussianBlur(noise, (0, 0), 4.0)
    return noise / noise.std()

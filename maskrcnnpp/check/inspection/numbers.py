"""Contents of a COCO data set in numbers, for someone who is about to train on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskrcnnpp.check.inspection.measures import (
    ObjectMeasures,
    PixelMeasures,
    measure_objects,
    measure_pixels,
    shape_of,
)
from maskrcnnpp.check.inspection.reading import CocoSet, InspectedImage, left_out
from maskrcnnpp.check.inspection.settings import suggest_settings
from maskrcnnpp.check.inspection.statistics import (
    choose_samples,
    cluster,
    distribution,
    rounded,
    rounded_all,
)
from maskrcnnpp.errors import DataError
from maskrcnnpp.images.display import as_model_sees

PERCENTILES = (1, 25, 50, 75, 99)
SHAPE_SAMPLE = 2000  # objects of which the shape is measured
MEAN_SAMPLE = 200  # images of which the mean pixel is measured
SAMPLES = 12
_PIXEL_SAMPLE = 2**22  # values kept of all images together
_PIXELS_AN_IMAGE = 2**14  # at most


def inspect_dataset(data: CocoSet, *, seed: int = 0, progress: bool = True) -> dict[str, Any]:
    """Measure a data set, one image in memory at a time.

    Args:
        data: the set. Afterwards its ``problems`` are complete.
        seed: of what is drawn: pixels, objects for shape, images for the mean pixel, clusters.
        progress: show a bar.

    Returns:
        what can be written as JSON: ``images``, ``objects``, ``categories``, ``samples``,
        ``settings``, ``notes``, ``left_out``. Lengths are in pixels, areas in square pixels.

    Raises:
        DataError: no image or no object is left that can be read.
    """
    gathered = _Gathered(data, seed)
    for image in data.read(progress=progress):
        gathered.add(image)
    if not gathered.images:
        raise DataError(
            f"{data.annotations}: none of its images is left\n{data.problems.summary()}"
        )
    if not any(entry["objects"] for entry in gathered.images):
        raise DataError(f"{data.annotations}: no object is left\n{data.problems.summary()}")
    groups = gathered.name_groups(seed)
    numbers = {
        "annotations": str(data.annotations),
        "folder": str(data.folder),
        "seed": seed,
        "images": _about_images(gathered, groups),
        "objects": _about_objects(gathered, data),
        "categories": gathered.about_categories(),
        "samples": choose_samples(gathered.images, SAMPLES),
        "left_out": {
            **left_out(data.problems.problems),
            "problems": [[p.scope, p.item, p.reason] for p in data.problems.problems],
        },
    }
    return {**numbers, **suggest_settings(numbers)}


class _Gathered:
    """A few numbers of each image and object, and a bounded sample of the pixels."""

    def __init__(self, data: CocoSet, seed: int) -> None:
        self.categories = data.categories
        self.images: list[dict[str, Any]] = []
        self.features: list[np.ndarray] = []
        self.measures: dict[str, list[np.ndarray]] = defaultdict(list)
        self.shapes: list[tuple[float, float]] = []
        self.category_objects: Counter = Counter()
        self.category_images: Counter = Counter()
        self.channels: dict[tuple[str, str], list[PixelMeasures]] = defaultdict(list)
        self.moments: dict[int, list[np.ndarray]] = defaultdict(list)  # by number of channels
        self._rng = np.random.default_rng(seed)
        self._shaped = self._draw(data.object_count, SHAPE_SAMPLE)
        ids = list(data.images)
        self._averaged = {ids[index] for index in self._draw(len(ids), MEAN_SAMPLE)}
        self._pixels = min(_PIXELS_AN_IMAGE, _PIXEL_SAMPLE // max(1, len(ids)))

    def _draw(self, total: int, count: int) -> set[int]:
        return set(self._rng.choice(total, min(total, count), replace=False).tolist())

    def add(self, image: InspectedImage) -> None:
        height, width = image.pixels.shape[:2]
        objects = measure_objects(image.crops, height, width)
        pixels = measure_pixels(image.pixels, image.is_colour, self._rng, self._pixels)
        # of the measures, what is kept per image must be small
        self.channels[pixels.dtype, pixels.layout].append(pixels)
        self.features.append(pixels.features)
        self._add_objects(image, objects)
        self.images.append(
            {
                "id": image.id,
                "file_name": image.file_name,
                "height": height,
                "width": width,
                "has_colour": pixels.has_colour,
                "group": pixels.stain,
                "objects": len(image.crops),
                "density": len(image.crops) * 1e6 / (height * width),
                "area_fraction": objects.covered / (height * width),
                "median_diameter": _median(_diameter(objects.area)),
            }
        )
        if image.id in self._averaged:
            seen = as_model_sees(image.pixels, image.is_colour)
            flat = seen.reshape(-1, seen.shape[2]).astype(np.float32)
            means = flat.mean(axis=0, dtype=np.float64), (flat**2).mean(axis=0, dtype=np.float64)
            self.moments[seen.shape[2]].append(np.stack(means))

    def _add_objects(self, image: InspectedImage, objects: ObjectMeasures) -> None:
        for name, values in objects._asdict().items():
            if name != "covered":
                self.measures[name].append(values)
        self.category_objects.update(image.category_ids)
        self.category_images.update(set(image.category_ids))
        for crop, number in zip(image.crops, image.numbers):
            if number in self._shaped:
                self.shapes.append(shape_of(crop))

    def name_groups(self, seed: int) -> list[dict[str, Any]]:
        """Give each image its group: the stain, or where there is none the cluster."""
        unnamed = [index for index, entry in enumerate(self.images) if not entry["group"]]
        if unnamed:
            clusters = cluster(np.array([self.features[index] for index in unnamed]), seed)
            for index, number in zip(unnamed, clusters):
                self.images[index]["group"] = f"intensity {number + 1}"
        groups = []
        counts = Counter(entry["group"] for entry in self.images)
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            members = [i for i, entry in enumerate(self.images) if entry["group"] == name]
            areas = np.concatenate([self.measures["area"][index] for index in members])
            groups.append(
                {
                    "name": name,
                    "images": count,
                    "objects": sum(self.images[index]["objects"] for index in members),
                    "median_intensity": _median([self.features[index][3] for index in members]),
                    "median_diameter": _median(_diameter(areas)),
                }
            )
        return groups

    def about_categories(self) -> list[dict[str, Any]]:
        return [
            {
                "id": key,
                "name": name,
                "objects": self.category_objects[key],
                "images": self.category_images[key],
            }
            for key, name in self.categories.items()
        ]


def _about_images(gathered: _Gathered, groups: list[dict[str, Any]]) -> dict[str, Any]:
    images = gathered.images
    sizes = Counter((entry["height"], entry["width"]) for entry in images)
    formats = {key: len(measures) for key, measures in gathered.channels.items()}
    # where images differ in channels, no setting fits all: that of most is taken
    moments = max(gathered.moments.values(), key=len, default=[])
    second = np.mean(moments, axis=0) if moments else np.zeros((2, 3))
    return {
        "number": len(images),
        "without_objects": sum(entry["objects"] == 0 for entry in images),
        "with_colour": sum(entry["has_colour"] for entry in images),
        "sizes": [
            {"height": height, "width": width, "images": count}
            for (height, width), count in sorted(sizes.items(), key=lambda s: (-s[1], s[0]))
        ],
        "formats": [
            {"dtype": dtype, "channels": layout, "images": count}
            for (dtype, layout), count in sorted(formats.items(), key=lambda f: (-f[1], f[0]))
        ],
        "intensity": [
            row for key, measures in sorted(gathered.channels.items()) for row in _rows(measures)
        ],
        "groups": groups,
        "mean": rounded_all(second[0]),
        "std": rounded_all(np.sqrt(np.maximum(second[1] - second[0] ** 2, 0))),
        "mean_of_images": len(moments),
    }


def _rows(measures: Sequence[PixelMeasures]) -> list[dict[str, Any]]:
    """Intensity of each channel of the images of one format."""
    sample = np.concatenate([m.sample for m in measures]).astype(np.float64)
    low, high = (np.array([getattr(m, key) for m in measures]) for key in ("low", "high"))
    names = "RGB" if measures[0].layout.startswith("RGB") else None
    return [
        {
            "dtype": measures[0].dtype,
            "channels": measures[0].layout,
            "channel": names[c] if names else str(c),
            "min": float(low[:, c].min()),
            **{f"p{p}": rounded(np.percentile(sample[:, c], p)) for p in PERCENTILES},
            "max": float(high[:, c].max()),
        }
        for c in range(sample.shape[1])
    ]


def _about_objects(gathered: _Gathered, data: CocoSet) -> dict[str, Any]:
    measured = {name: np.concatenate(parts) for name, parts in gathered.measures.items()}
    height, width = measured["height"], measured["width"]
    shapes = np.array(gathered.shapes).reshape(-1, 2)
    of_images = {
        name: [entry[key] for entry in gathered.images]
        for name, key in (
            ("an_image", "objects"),
            ("density", "density"),
            ("area_fraction", "area_fraction"),
        )
    }
    distributions = {
        **of_images,
        "area": measured["area"],
        "diameter": _diameter(measured["area"]),
        "box_size": np.sqrt(width * height),
        "box_long_side": np.maximum(width, height),
        "box_short_side": np.minimum(width, height),
        "aspect_ratio": height / width,
        "elongation": np.maximum(width, height) / np.minimum(width, height),
        "eccentricity": shapes[:, 0],
        "solidity": shapes[:, 1],
    }
    return {
        "number": len(height),
        "crowds": data.crowds,
        "polygons": data.polygons,
        "shapes_measured": len(shapes),
        "touching": rounded(measured["touching"].mean()),
        "overlapping": rounded(measured["overlapping"].mean()),
        "in_pieces": rounded((measured["pieces"] > 1).mean()),
        "cut_by_border": rounded(measured["cut"].mean()),
        "area_terciles": rounded_all(np.quantile(measured["area"], (1 / 3, 2 / 3))),
        "distributions": {name: distribution(v) for name, v in distributions.items() if len(v)},
    }


def _diameter(area: np.ndarray) -> np.ndarray:
    """Diameter of the disk of the same area."""
    return 2 * np.sqrt(np.asarray(area) / np.pi)


def _median(values: Sequence[float] | np.ndarray) -> float | None:
    return rounded(np.median(values)) if len(values) else None

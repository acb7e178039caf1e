"""Settings of this project's configs that fit a data set, each with its reason."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from maskrcnnpp.images.display import STRETCH

_LEVELS = 5  # p2..p6, of strides 4 to 64
_COARSE = 32  # anchors of the finest level above it would leave that level to large objects
_SMALL = 8  # median diameter below which objects have too few pixels of the finest level
_WANTED = 12  # median diameter that a suggested scale gives
_LARGEST_SCALE = 8
_CROPS = (128, 512)  # smallest and largest side that is suggested
_COLOURS = ("grey", "grey and alpha", "RGB", "RGB and alpha")
# of configs/cpu/Base-CPU.yaml: what its ImageNet weights take, for each channel
_MEAN, _STD = 127.0, 128.0


def suggest_settings(numbers: Mapping[str, Any]) -> dict[str, list]:
    """
    Args:
        numbers: of :func:`maskrcnnpp.check.inspection.inspect_dataset`.

    Returns:
        ``settings``, a list of key, value and reason, and ``notes``: what no setting mends.
    """
    notes = _notes(numbers)
    crop, crop_reason = _crop(numbers)
    scale = _scale(numbers, notes)
    sizes = numbers["images"]["sizes"]
    settings = [
        *_reading(numbers),
        *_anchors(numbers, scale),
        *_counts(numbers),
        (
            "MODEL.ROI_HEADS.NUM_CLASSES",
            len(numbers["categories"]),
            "the categories of the annotations",
        ),
        *_masks(numbers),
        *_scaling(scale, crop, sizes),
        ("INPUT.CROP.ENABLED", True, "batches of crops take the same memory for any image"),
        ("INPUT.CROP.TYPE", "absolute", "pixels"),
        ("INPUT.CROP.SIZE", [crop, crop], crop_reason),
    ]
    return {
        "settings": [
            {"key": key, "value": value, "reason": reason} for key, value, reason in settings
        ],
        "notes": notes,
    }


def settings_yaml(settings: Sequence[Mapping[str, Any]]) -> str:
    """Settings as YAML that a config file can have, the reason above each."""
    lines: list[str] = []
    above: list[str] = []
    for entry in sorted(settings, key=lambda s: _place(settings, s["key"])):
        *parents, name = entry["key"].split(".")
        common = 0
        while common < min(len(above), len(parents)) and above[common] == parents[common]:
            common += 1
        for depth in range(common, len(parents)):
            lines.append("  " * depth + f"{parents[depth]}:")
        above = parents
        indent = "  " * len(parents)
        comment = indent + "# "
        lines += textwrap.wrap(
            entry["reason"], 100, initial_indent=comment, subsequent_indent=comment
        )
        lines.append(f"{indent}{name}: {_yaml(entry['value'])}")
    return "\n".join(lines) + "\n"


def _place(settings: Sequence[Mapping[str, Any]], key: str) -> list[int]:
    """Keys of one parent next to each other, in the order in which the parents first occur."""
    keys = [entry["key"] for entry in settings]
    parts = key.split(".")
    prefixes = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
    return [
        next(i for i, k in enumerate(keys) if k == prefix or k.startswith(prefix + "."))
        for prefix in prefixes
    ]


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value)


def _is_colour(numbers: Mapping[str, Any]) -> bool:
    """Whether all images are grey or red, green and blue."""
    return all(entry["channels"] in _COLOURS for entry in numbers["images"]["formats"])


def _is_8_bit(numbers: Mapping[str, Any]) -> bool:
    return all(entry["dtype"] == "uint8" for entry in numbers["images"]["formats"])


def _reading(numbers: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """How files become what the model takes."""
    found: list[tuple[str, Any, str]] = []
    if not _is_colour(numbers):
        count = len(numbers["images"]["mean"])
        reason = "all channels; leave out, here and in PIXEL_MEAN and PIXEL_STD, what says nothing"
        found.append(("INPUT.CHANNELS", list(range(count)), reason))
        reason = "what the ImageNet weights take, for each of the channels"
        found.append(("MODEL.PIXEL_MEAN", [_MEAN] * count, reason))
        found.append(("MODEL.PIXEL_STD", [_STD] * count, "the same"))
    if not _is_8_bit(numbers):
        reason = "of each image and channel become 0 and 255, as values are not of 8 bits"
        found.append(("INPUT.PERCENTILES", list(STRETCH), reason))
    return found


def random_weights_note(numbers: Mapping[str, Any]) -> str:
    """Mean and standard deviation of the pixels, which belong to no weights."""
    images = numbers["images"]
    order = "red, green, blue" if _is_colour(numbers) else "in the order of INPUT.CHANNELS"
    stretched = "" if _is_8_bit(numbers) else ", between the percentiles of each image"
    mean = [round(value, 1) for value in images["mean"]]
    std = [round(max(1.0, value), 1) for value in images["std"]]
    return (
        f"Pixels of {images['mean_of_images']} images ({order}{stretched}) have the mean "
        f"{mean} and the standard deviation {std}: MODEL.PIXEL_MEAN and PIXEL_STD of a "
        "training from random weights. Pretrained weights bring their own."
    )


def _anchors(numbers: Mapping[str, Any], scale: int) -> list[tuple[str, Any, str]]:
    size = numbers["objects"]["distributions"]["box_size"]
    low, middle, high = (size[key] * scale for key in ("p5", "p50", "p95"))
    first = max(low, 4.0)  # the stride of p2
    while first > _COARSE:
        first /= 2
    # by two a level, as the strides rise; by more where that would not reach the largest
    step = max(2.0, (high / first) ** (1 / (_LEVELS - 1)))
    sizes = [[max(1, round(first * step**level))] for level in range(_LEVELS)]
    scaled = f", {scale} times enlarged" if scale > 1 else ""
    ratios, covered = _ratios(numbers)
    return [
        (
            "MODEL.ANCHOR_GENERATOR.SIZES",
            sizes,
            f"one a level p2..p6. sqrt(width x height) of the boxes{scaled} is {low:.3g} / "
            f"{middle:.3g} / {high:.3g} px (5 / 50 / 95 %): the sizes begin at the 5 % quantile, "
            "or below where that is large, and rise by two as the strides do",
        ),
        ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [ratios], covered),
    ]


def _ratios(numbers: Mapping[str, Any]) -> tuple[list[float], str]:
    """Ratios so that a box has an anchor of its area and IoU 0.7, RPN's limit, in 95 %.

    A box whose ratio is 1.47 times that of an anchor of the same area has IoU 0.7 with it.
    """
    long = numbers["objects"]["distributions"]["elongation"]["p95"]
    ratios = [0.25, 0.5, 1.0, 2.0, 4.0]
    if long <= 1.47 * 2:
        ratios = [0.5, 1.0, 2.0] if long > 1.47 else [1.0]
    said = f"95 % of the boxes are at most {long:.3g} times as long as wide"
    if len(ratios) != 3:
        said += ". Weights of an RPN with three ratios do not fit; [[0.5, 1, 2]] keeps them"
    return ratios, said


def _counts(numbers: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    most = int(numbers["objects"]["distributions"]["an_image"]["max"])
    limit = max(100, math.ceil(1.3 * most / 100 - 1e-9) * 100)
    proposals = max(1000, 2 * limit)
    low, high = (_two_digits(area) for area in numbers["objects"]["area_terciles"])
    return [
        (
            "MODEL.RPN.PRE_NMS_TOPK_TEST",
            proposals,
            "a level: objects of one size are all on one level",
        ),
        (
            "MODEL.RPN.POST_NMS_TOPK_TEST",
            proposals,
            "at least twice the detections: proposals are doubles and background too",
        ),
        (
            "TEST.DETECTIONS_PER_IMAGE",
            limit,
            f"an image has up to {most} objects; 1.3 times that, in hundreds",
        ),
        (
            "TEST.AREA_BINS",
            [low, max(high, low + 1)],
            "thirds of the objects by area, px: what APs, APm and APl count",
        ),
    ]


def _two_digits(value: float) -> int:
    step = 10 ** max(0, len(str(int(value))) - 2)
    return max(1, step * math.floor(value / step + 0.5))


def _masks(numbers: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    polygons, total = numbers["objects"]["polygons"], numbers["objects"]["number"]
    if polygons == 0:
        return [("INPUT.MASK_FORMAT", "bitmask", "the annotations are RLE")]
    if polygons < total:
        return [("INPUT.MASK_FORMAT", "bitmask", "some annotations are RLE; it reads both")]
    return [("INPUT.MASK_FORMAT", "polygon", "the annotations are polygons")]


def _crop(numbers: Mapping[str, Any]) -> tuple[int, str]:
    about = numbers["objects"]["distributions"]
    long, density = about["box_long_side"]["p95"], about["density"]["p50"]
    needs = [_CROPS[0], 4 * long]
    if density > 0:
        needs.append(math.sqrt(10 * 1e6 / density))
    side = 32 * math.ceil(min(max(needs), _CROPS[1]) / 32 - 1e-9)
    shortest = sorted(
        min(s["height"], s["width"]) for s in numbers["images"]["sizes"] for _ in range(s["images"])
    )
    # an image that is smaller than the crop is taken whole
    middle = shortest[len(shortest) // 2]
    if len(numbers["images"]["sizes"]) == 1:
        side = min(side, middle)
    side = min(side, 32 * math.ceil(middle / 32))
    return side, (
        f"holds 4 times the long side of a box ({long:.3g} px, 95 %) and about 10 objects, as far "
        f"as {_CROPS[0]} to {_CROPS[1]} and the images' size allow. Smaller ones train faster"
    )


def _scale(numbers: Mapping[str, Any], notes: list[str]) -> int:
    """How many times images should be enlarged by the config; 1 where it cannot or need not."""
    diameter = numbers["objects"]["distributions"]["diameter"]["p50"]
    if diameter >= _SMALL:
        return 1
    scale = min(_LARGEST_SCALE, math.ceil(_WANTED / diameter))
    small = f"Half of the objects have a diameter below {diameter:.3g} px, which is little for p2."
    if len(numbers["images"]["sizes"]) > 1:
        notes.append(
            f"{small} The images differ in size, so that no setting enlarges all of them alike: "
            f"enlarge images and masks {scale} times, and inspect them again."
        )
        return 1
    notes.append(
        f"{small} The suggested sizes enlarge the images {scale} times. maskrcnnpp predict does "
        f"not resize: give it images that are enlarged already, with INPUT.MIN_SIZE_TEST 0."
    )
    return scale


def _scaling(
    scale: int, crop: int, sizes: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Any, str]]:
    if scale == 1:
        reason = "images keep their size, as objects of one magnification should"
        return [("INPUT.MIN_SIZE_TRAIN", [0], reason), ("INPUT.MIN_SIZE_TEST", 0, "the same")]
    sides = sorted((sizes[0]["height"], sizes[0]["width"]))
    return [
        ("INPUT.MIN_SIZE_TRAIN", [scale * crop], f"the crop, {scale} times enlarged"),
        ("INPUT.MAX_SIZE_TRAIN", scale * crop, "the same"),
        ("INPUT.MIN_SIZE_TEST", scale * sides[0], f"the short side, {scale} times enlarged"),
        ("INPUT.MAX_SIZE_TEST", scale * sides[1], f"the long side, {scale} times enlarged"),
    ]


def _notes(numbers: Mapping[str, Any]) -> list[str]:
    """Notes on the data to read before a training."""
    images, objects = numbers["images"], numbers["objects"]
    layouts = {entry["channels"] for entry in images["formats"]}
    dtypes = sorted({entry["dtype"] for entry in images["formats"]})
    is_mixed = not _is_colour(numbers) and len(layouts) > 1
    rare = [g for g in images["groups"] if g["images"] < 0.05 * images["number"]]
    unused = [category["name"] for category in numbers["categories"] if not category["objects"]]
    lines = [
        is_mixed
        and f"The images differ in their channels ({', '.join(sorted(layouts))}): no model takes "
        "all of them. Make one data set of each kind.",
        len(dtypes) > 1
        and f"The images are of several types of numbers ({', '.join(dtypes)}): check that they "
        "belong together, and were not saved in different ways.",
        images["without_objects"]
        and f"Images without an object: {images['without_objects']}. Detectron2 leaves them out of "
        "the training; DATALOADER.FILTER_EMPTY_ANNOTATIONS False keeps them.",
        rare
        and "Few images are of the kind "
        + ", ".join(f"{g['name']} ({g['images']})" for g in rare)
        + ": look at the results on them by themselves.",
        objects["crowds"]
        and f"Annotations of crowds (iscrowd): {objects['crowds']}. They are not counted here, and "
        "Detectron2 does not train on them.",
        unused and f"No object is of the category {', '.join(map(str, unused))}.",
    ]
    return [text for text in lines if text]

"""One HTML page to look through what a run of ``maskrcnnpp predict`` found."""

from __future__ import annotations

import base64
import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from tqdm import tqdm

from maskrcnnpp.errors import ConfigError, DataError, first_line
from maskrcnnpp.files import PARTIAL, size_and_time, write_text
from maskrcnnpp.images import LARGEST, open_image
from maskrcnnpp.images.display import as_rgb
from maskrcnnpp.inference.record import RECORD_FILE
from maskrcnnpp.inference.run import images_of_run
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.outlines import rings_of
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.parse import checked_rle

_PAGE = Path(__file__).with_name("view.html")
_DATA = "{{DATA}}"
_ICON = 96  # pixels of the longer side, in the list of images
_QUALITY = 80  # of JPEG
_EPSILON = 0.5  # pixels of the shown image by which an outline may be moved
_NOT_SHOWN = {"x0", "y0", "x1", "y1"}
_AGAIN = "run predict again with the same words and"

Ring = np.ndarray  #: (n, 2) corners x, y, in pixels of the image
Size = tuple[int, int]  #: height and width of an image, pixels


@dataclass
class View:
    """Result of writing a page: what it shows, and what it does not."""

    images: int = 0
    objects: int = 0
    #: What is not in the page, and why.
    remarks: list[str] = field(default_factory=list)
    #: Whether the outputs of an image could not be read.
    is_incomplete: bool = False


def write_view(
    run_dir: Path,
    output: Path,
    *,
    images: Path | None = None,
    max_images: int = 100,
    max_objects: int = 5000,
    size: int = 1024,
) -> View:
    """Write the page of a run, whole or not at all.

    Args:
        run_dir: the output folder of the run. Read are its run.json, the tables (csv), and the
            outlines of the first there is of coco, geojson and labels.
        output: the page.
        images: folder of the images, if they are not where they were predicted.
        max_images: that the page has, in the order of their names.
        max_objects: of an image, those of the highest scores.
        size: pixels of the longer side of an image in the page.

    Raises:
        ConfigError: ``output`` is no name of a page.
        DataError: the folder is not of a run, or has nothing to show.
        OutputError: the page cannot be written.
    """
    if output.suffix.lower() not in (".html", ".htm") or output.is_dir():
        raise ConfigError(f"--output {output}: the page is a file that ends in .html")
    if images is not None and not images.is_dir():
        raise ConfigError(f"--images {images}: there is no such folder")
    record = _record(run_dir)
    settings = record["settings"]
    if settings.get("planes") is not None:
        raise DataError(
            f"{run_dir} is of stacks (--planes), and the page shows single images: open its labels "
            "in napari or Fiji, or look at --format overlay"
        )
    view = View()
    places = images_of_run(run_dir)
    names = _names(run_dir, places, view)
    if more := len(names) - max_images:
        if more > 0:
            view.remarks.append(f"{more} more images are not in the page: see --max-images")
    entries = []
    for name in tqdm(names[:max_images], desc="images", unit="image", disable=len(names) < 2):
        try:
            entry, left_out = _objects(run_dir, name, max_objects, size)
        except DataError as error:
            view.is_incomplete = True
            view.remarks.append(f"left out: {error}")
            continue
        if left_out:
            view.remarks.append(
                f"{name}: {left_out} objects are not in the page, those of the lowest scores: see "
                "--max-objects"
            )
        try:
            _add_picture(entry, _image_file(name, places.get(name), images), settings, size)
        except DataError as error:
            view.remarks.append(f"outlines only: {error}")
        is_resolved = settings.get("overlaps") == "resolve"
        if lost := sum(not rings for rings in entry["outlines"]) if is_resolved else 0:
            view.remarks.append(
                f"{name}: {lost} objects of the table have no pixels any more, as if they were "
                "removed by hand; the table still has them"
            )
        entries.append(entry)
        view.objects += len(entry["outlines"]) - lost
    view.images = len(entries)
    if not entries:
        raise DataError("\n".join([f"{run_dir} has nothing to show", *view.remarks]))
    call = record["calls"][-1] if record.get("calls") else {}
    about = {
        "title": run_dir.resolve().name,
        "command": str(call.get("command", "")),
        "remarks": view.remarks,
        "score": settings.get("score_threshold", 0),
        "images": entries,
    }
    # "<" can neither end the script nor begin a comment in it
    data = json.dumps(about, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    write_text(output, _PAGE.read_text(encoding="utf-8").replace(_DATA, data))
    return view


def _record(run_dir: Path) -> dict[str, Any]:
    path = run_dir / RECORD_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {**record, "settings": dict(record["settings"])}
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is not there: give a folder that was --output of maskrcnnpp predict"
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path} is no record of a run: {first_line(error)}") from error


def _names(run_dir: Path, places: dict[str, Any], view: View) -> list[str]:
    """Images that have a table, in order."""
    ending = WRITERS["csv"].ending
    paths = run_dir.glob(f"*{ending}")
    names = {p.name.removesuffix(ending) for p in paths if not p.name.startswith(PARTIAL)}
    if lacking := sorted(set(places) - names):
        view.remarks.append(
            f"{len(lacking)} images have no table, such as {lacking[0]}: {_AGAIN} --format csv"
        )
    if not names:
        raise DataError(f"{run_dir} has no table of objects (*{ending}): {_AGAIN} --format csv")
    return sorted(names)


def _objects(run_dir: Path, name: str, most: int, size: int) -> tuple[dict[str, Any], int]:
    """Table and outlines of an image for the page, and how many objects were left out."""
    table = run_dir / f"{name}{WRITERS['csv'].ending}"
    with _named(table), open(table, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(islice(reader, most))
        columns = [c for c in reader.fieldnames or () if c not in _NOT_SHOWN]
        if not {"number", "score"} <= set(columns):
            raise ValueError("it has no columns number and score")
        values = {c: [_value(c, row[c]) for row in rows] for c in columns}
        left_out = sum(1 for _ in reader)
    for form, read in _READERS.items():
        path = run_dir / f"{name}{WRITERS[form].ending}"
        if path.is_file():
            with _named(path):
                shapes, extent, count = read(path, len(rows))
                # of a label image the last ones may have lost all their pixels to others
                total = len(rows) + left_out
                if count > total and form == "labels":
                    raise DataError(
                        f"{path} has an object of the number {count}, and the table {total} "
                        "objects: it was changed after the prediction. Look at it in napari or "
                        "Fiji, or show the prediction as it was from another folder"
                    )
                if count > total or (count < total and form != "labels"):
                    raise ValueError(f"it has {count} objects, and the table {total}")
                shapes += [[]] * (len(rows) - len(shapes))
            break
    else:
        forms = ", ".join(_READERS)
        raise DataError(f"{name} has no outlines ({forms}): {_AGAIN} --format labels")
    epsilon = _EPSILON * max(1.0, max(extent) / size)
    outlines = [[_packed(ring, epsilon) for ring in rings] for rings in shapes]
    height, width = extent
    entry = {"name": name, "height": height, "width": width, "values": values}
    return {**entry, "outlines": outlines}, left_out


class _named:
    """Whatever a broken output leads to, as an error that names its file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and str(self._path) not in str(error):
            raise DataError(
                f"{self._path} cannot be read ({first_line(error)}): remove it and run predict "
                "again with the same words"
            ) from error


def _value(column: str, text: str) -> Any:
    """A number of the table with the digits that are worth their place, or text."""
    if column == "class":
        return text
    number = float(text)
    if not math.isfinite(number):
        return None
    if number.is_integer():
        return int(number)
    return round(number, 1) if column in ("x", "y") else float(f"{number:.4g}")


def _of_coco(path: Path, most: int) -> tuple[list[list[Ring]], Size, int]:
    results = json.loads(path.read_text(encoding="utf-8"))
    height, width = results[0]["segmentation"]["size"] if results else (1, 1)
    masks = [
        Crop.of_rle(checked_rle(entry["segmentation"], height, width)) for entry in results[:most]
    ]
    return [_rings(mask) for mask in masks], (height, width), len(results)


def _of_geojson(path: Path, most: int) -> tuple[list[list[Ring]], Size, int]:
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    shapes = []
    for feature in features[:most]:
        places = feature["geometry"]["coordinates"]
        parts = [places] if feature["geometry"]["type"] == "Polygon" else places
        shapes.append([np.rint(ring[:-1]).astype(np.int64) for part in parts for ring in part])
    # what the file does not say: at least as large as what is in it
    corner = np.max([ring.max(axis=0) for rings in shapes for ring in rings] or [(1, 1)], axis=0)
    return shapes, (int(corner[1]), int(corner[0])), len(features)


def _of_labels(path: Path, most: int) -> tuple[list[list[Ring]], Size, int]:
    with tifffile.TiffFile(path) as file:
        shape = file.series[0].shape
        if len(shape) != 2:
            raise ValueError(f"it has {'x'.join(map(str, shape))} pixels, of several planes")
        if math.prod(shape) > LARGEST:
            raise DataError(f"{path} is too large to be read at once: {_AGAIN} --format geojson")
        labels = file.asarray()
    boxes = _boxes(labels)
    shapes: list[list[Ring]] = []
    for number, box in enumerate(boxes[:most], start=1):
        if box is None:
            shapes.append([])  # another object has all its pixels
        else:
            rows, columns = box
            shapes.append(_rings(Crop(rows.start, columns.start, labels[box] == number)))
    return shapes, shape, len(boxes)


def _boxes(labels: np.ndarray) -> list[tuple[slice, slice] | None]:
    """Rows and columns of each label from 1 on, as scipy.ndimage.find_objects."""
    places = np.nonzero(labels)
    values, count = labels[places], int(labels.max(initial=0))
    low, high = np.full((2, count + 1), labels.size), np.full((2, count + 1), -1)
    for axis in (0, 1):
        np.minimum.at(low[axis], values, places[axis])
        np.maximum.at(high[axis], values, places[axis])
    ends = zip(low.T.tolist(), (high + 1).T.tolist())
    boxes = [(slice(top, bottom), slice(left, right)) for (top, left), (bottom, right) in ends]
    return [box if box[0].stop else None for box in boxes[1:]]


def _rings(mask: Crop) -> list[Ring]:
    return [ring + (mask.left, mask.top) for ring in rings_of(mask.pixels)]


# the first that an image has is taken; label images come last, as masks that overlap are cut there
_READERS: dict[str, Callable[[Path, int], tuple[list[list[Ring]], Size, int]]] = {
    "coco": _of_coco,
    "geojson": _of_geojson,
    "labels": _of_labels,
}


def _packed(ring: Ring, epsilon: float) -> list[int]:
    """A simpler outline: x, y of its first corner, then steps to the next ones."""
    line = cv2.approxPolyDP(ring.astype(np.int32)[:, None], epsilon, closed=True)[:, 0]
    return np.diff(line, axis=0, prepend=0 * line[:1]).ravel().tolist()


def _image_file(name: str, place: tuple[Path, int] | None, folder: Path | None) -> Path:
    """The file of an image.

    Raises:
        DataError: it is not there, or another one is.
    """
    if folder:
        path = folder / name
    elif place:
        path = place[0]
    else:
        raise DataError(f"{name}: where this image was is not known: give --images FOLDER")
    if not path.exists():
        raise DataError(f"{path} is not there: give --images FOLDER, where the images are now")
    if place and size_and_time(path)[0] != place[1]:
        raise DataError(f"{path} is not the file that was predicted on: it has another size")
    return path


def _add_picture(entry: dict[str, Any], path: Path, settings: dict[str, Any], size: int) -> None:
    """Add the image, small, and its icon.

    Raises:
        DataError: it cannot be read.
    """
    level, scene = settings.get("level") or 0, settings.get("scene")
    with open_image(path, settings.get("channels"), level=level, scene=scene) as raster:
        if raster.height < entry["height"] or raster.width < entry["width"]:
            raise DataError(f"{path} is smaller than the image that was predicted on")
        entry["height"], entry["width"] = raster.height, raster.width
        picture = as_rgb(raster.thumbnail(size), raster.is_colour)
    entry["picture"] = _jpeg(picture)
    factor = _ICON / max(picture.shape)
    sides = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    entry["icon"] = _jpeg(cv2.resize(picture, sides, interpolation=cv2.INTER_AREA))


def _jpeg(pixels: np.ndarray) -> str:
    options: Sequence[int] = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    content = cv2.imencode(".jpg", pixels[..., ::-1], options)[1].tobytes()
    return base64.b64encode(content).decode("ascii")

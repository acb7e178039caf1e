"""Reader of GeoJSON outlines, as QuPath exports them and this project writes them.

    a.geojson beside a.png          a FeatureCollection, or a list of features
    a.png.geojson beside a.png      the same
    a.json beside a.png             where its content is that

Coordinates are pixels of the image: (0, 0) is the corner of the first pixel. Objects are QuPath's
detections, cells and annotations that are a Polygon or MultiPolygon, with holes; those in
``childObjects`` too. Points, lines, and classes with a star at the end (``Region*``) are none. All
have to be of one plane (z, t) of the image.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from maskrcnnpp.convert.pairing import Pair, check_any, find_entries, images_beside, stem
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.decode import decode_pair
from maskrcnnpp.convert.readers.objects import (
    NotAnObject,
    Region,
    category_id,
    check_planes,
    collect,
    make_categories,
    read_json,
)
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.polygons import make_ring, ring_mask, union
from maskrcnnpp.masks.rle import Rle

#: Class of what has none.
NO_CLASS = "nucleus"
_KINDS = ("annotation", "cell", "detection")
_WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
# "id" of a feature in files of QuPath up to 0.2
_OLD_KINDS = {
    "PathAnnotationObject": "annotation",
    "PathCellObject": "cell",
    "PathDetectionObject": "detection",
    "PathTileObject": "tile",
    "PathRootObject": "root",
    "TMACoreObject": "tma_core",
}


class GeojsonReader(Reader):
    """Images with GeoJSON outlines.

    Where a file has detections or cells, an annotation around one is the region that was searched,
    and no object.
    """

    def __init__(
        self,
        source: str | os.PathLike,
        problems: ProblemLog,
        *,
        class_names: Sequence[str] | None = None,
        nuclei: bool = False,
    ) -> None:
        """
        Args:
            source, problems: see :class:`Reader`.
            class_names: those wanted, in the order of their category ids. None takes all that
                there are, by name.
            nuclei: take the nuclei of cells instead of the cells.

        Raises:
            DataError: see :class:`Reader`.
        """
        super().__init__(source, problems)
        classes: set[str] = set()
        with FileSource(source) as files:
            there = list_files(files, problems)
            images = _find(files, there)
            self._entries, bad = find_entries(there, images, "a.geojson for a.png")
            if class_names is None:
                for pair in self._entries.values():
                    if isinstance(pair, Pair):
                        classes |= _classes_in(files, pair.annotation, nuclei)
        self.categories = make_categories(class_names, classes)
        self._nuclei = nuclei
        problems.add(*bad)
        check_any(
            self.source,
            problems,
            self._entries if images else {},
            "GeoJSON outlines; put a.geojson beside a.png, or a.png.geojson",
        )

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        return any(images_beside(names, _keys).values())

    @property
    def decoder(self) -> Decoder:
        ids = {category["name"]: category["id"] for category in self.categories}
        return functools.partial(_decode, ids=ids, nuclei=self._nuclei)


def _keys(name: str, suffix: str = ".geojson") -> list[str]:
    return [stem(name)] if PurePosixPath(name).suffix.lower() == suffix else []


def _find(files: FileSource, names: Sequence[str]) -> dict[str, list[str]]:
    """Annotation files and their images; of those in .json only such as are GeoJSON."""
    found = images_beside(names, _keys)
    taken = {image for images in found.values() for image in images}
    for name, images in images_beside(names, functools.partial(_keys, suffix=".json")).items():
        if not images or taken.intersection(images):
            continue
        try:
            _features(read_json(files, name))
        except NotAnObject:
            continue
        except DataError:
            pass  # damaged: reported when it is read
        found[name] = images
    return found


def _features(content: Any) -> list[Any]:
    """
    Raises:
        NotAnObject: the content of the file is something else than GeoJSON.
    """
    if isinstance(content, dict):
        if content.get("type") == "Feature":
            return [content]
        if content.get("type") == "FeatureCollection":
            content = content.get("features")
    if isinstance(content, list) and all(_is_feature(feature) for feature in content):
        return list(_with_children(content))
    raise NotAnObject("is not a GeoJSON: neither a FeatureCollection nor a list of features")


def _with_children(features: Sequence[Any]) -> Iterator[Any]:
    """Features, each before those that QuPath exports inside it."""
    waiting = list(reversed(features))
    while waiting:
        feature = waiting.pop()
        yield feature
        for holder in (feature, _properties(feature)):
            children = holder.get("childObjects") or []
            if isinstance(children, dict):
                children = children.get("features") or []
            if not (isinstance(children, list) and all(map(_is_feature, children))):
                raise DataError("has childObjects that are not a list of features")
            waiting += reversed(children)


def _is_feature(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("type") == "Feature"


def _objects(features: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Every feature with its name; instead of one that is not an object, the reason."""
    regions = _regions(features)
    for index, feature in enumerate(features):
        kind = _kind(feature)
        if kind not in _KINDS:
            feature = Region(f"is a {kind}, where {', '.join(_KINDS)} are read")
        elif index in regions:
            feature = Region("is an annotation around detections: a region, no object")
        yield f"feature {index + 1}", feature


def _regions(features: Sequence[Mapping[str, Any]]) -> set[int]:
    """Indices of the annotations with the box of a detection or cell inside their own."""
    kinds = [_kind(feature) for feature in features]
    inner = [f for f, kind in zip(features, kinds) if kind in ("cell", "detection")]
    if not inner or "annotation" not in kinds:
        return set()
    boxes = np.array([_box(feature) for feature in inner])
    regions = set()
    for index, feature in enumerate(features):
        if kinds[index] == "annotation":
            box = _box(feature)
            if ((boxes[:, :2] >= box[:2]) & (boxes[:, 2:] <= box[2:])).all(axis=1).any():
                regions.add(index)
    return regions


def _box(feature: Mapping[str, Any]) -> np.ndarray:
    """x0, y0, x1, y1; not a number where there is no polygon."""
    try:
        rings = [make_ring(polygon[0]) for polygon in _polygons(feature.get("geometry"))]
        points = np.concatenate(rings)
        return np.concatenate((points.min(axis=0), points.max(axis=0)))
    except (DataError, ValueError):
        return np.full(4, np.nan)


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _kind(feature: Mapping[str, Any]) -> str:
    properties = _properties(feature)
    kind = properties.get("objectType") or properties.get("object_type")
    if kind is None:
        old = feature.get("id")
        return _OLD_KINDS.get(old, "detection") if isinstance(old, str) else "detection"
    return _OLD_KINDS.get(str(kind), str(kind).lower())


def _class_of(feature: Mapping[str, Any]) -> str:
    known = _properties(feature).get("classification")
    if isinstance(known, dict):
        # newer files of QuPath list the parts of a class, "Tumor: Positive"
        names = known.get("names")
        known = ": ".join(map(str, names)) if isinstance(names, list) else known.get("name")
    return str(known) if known else NO_CLASS


def _classes_in(files: FileSource, name: str, nuclei: bool) -> set[str]:
    """Class names of the objects of a file; empty if it cannot be read, which is reported later."""
    try:
        features = _features(read_json(files, name))
    except DataError:
        return set()
    objects = [item for _, item in _objects(features) if not isinstance(item, NotAnObject)]
    return {_class_of(item) for item in objects if _is_area(_geometry(item, nuclei))}


def _geometry(feature: Mapping[str, Any], nuclei: bool) -> Any:
    """Geometry of a feature, or of its nucleus; None where there is none."""
    if not nuclei:
        return feature.get("geometry")
    return feature.get("nucleusGeometry") or _properties(feature).get("nucleusGeometry")


def _is_area(geometry: Any) -> bool:
    return isinstance(geometry, dict) and geometry.get("type") in ("Polygon", "MultiPolygon")


def _polygons(geometry: Any) -> list[list[Any]]:
    """Polygons of a geometry, each a list of its outer ring and its holes.

    Raises:
        NotAnObject: it is a point, a line or the like.
        DataError: it is damaged.
    """
    if not _is_area(geometry):
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if kind in _WITHOUT_AREA:
            raise Region(f"is a {kind}, which has no area")
        raise NotAnObject(f"is a {kind}, no polygon" if kind else "has no geometry")
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if geometry["type"] == "Polygon" else coordinates
    if not isinstance(polygons, list) or not all(isinstance(p, list) for p in polygons):
        raise DataError("has coordinates that are not lists")
    return [polygon for polygon in polygons if polygon]


def _plane_of(geometry: Mapping[str, Any]) -> tuple[str, str]:
    """z and t of a geometry of QuPath; those of the first plane where it has none."""
    plane = geometry.get("plane")
    plane = plane if isinstance(plane, dict) else {}
    return str(plane.get("z", 0)), str(plane.get("t", 0))


def _decode(files: FileSource, pair: Pair, *, ids: Mapping[str, int], nuclei: bool) -> Result:
    def make(size: tuple[int, int], item: Any) -> tuple[Rle | None, int]:
        if isinstance(item, NotAnObject):
            raise item
        geometry = _geometry(item, nuclei)
        if nuclei and geometry is None:
            raise NotAnObject("has no nucleusGeometry, which nuclei are taken from")
        polygons = _polygons(geometry)
        category = category_id(ids, _class_of(item))
        planes.add(_plane_of(geometry))
        # a polygon at a time: one may lie in a hole of another
        return union(ring_mask(rings[0], rings[1:], *size) for rings in polygons), category

    def annotated(pixels: np.ndarray) -> tuple[list[Rle], list[int], list[Problem]]:
        features = _features(read_json(files, pair.annotation))
        found = collect(pair, _objects(features), functools.partial(make, pixels.shape[:2]))
        check_planes(planes)
        return found

    planes: set[tuple[Any, Any]] = set()
    return decode_pair(files, pair, annotated)

"""GeoJSON, which QuPath imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maskrcnnpp.files import write_json_list
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.inference.writers.outlines import outline


def write_geojson(objects: Objects, info: Info, path: Path) -> None:
    """A FeatureCollection of QuPath detections: outline in pixels, class, score.

    Raises:
        UserError: shapely is not installed.
    """
    features = (_feature(entry, info) for entry in objects)
    write_json_list(path, features, member="features", around={"type": "FeatureCollection"})


def _feature(entry: Detection, info: Info) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": outline(entry).__geo_interface__,
        "properties": {
            "objectType": "detection",
            "classification": {"name": info.naming.category_names[entry.category]},
            "measurements": {"score": entry.score, "area px^2": entry.area},
        },
    }

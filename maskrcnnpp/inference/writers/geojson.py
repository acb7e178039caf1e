"""GeoJSON, which QuPath imports."""

from __future__ import annotations

from pathlib import Path

from maskrcnnpp.files import write_json
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.inference.writers.outlines import outline


def write_geojson(objects: Objects, info: Info, path: Path) -> None:
    """A FeatureCollection of QuPath detections: outline in pixels, class, score.

    Raises:
        UserError: shapely is not installed.
    """
    features = []
    for entry in objects:
        shape = outline(entry)
        features.append(
            {
                "type": "Feature",
                "geometry": shape.__geo_interface__,
                "properties": {
                    "objectType": "detection",
                    "classification": {"name": info.category_names[entry.category]},
                    "measurements": {"score": entry.score, "area px^2": entry.area},
                },
            }
        )
    write_json(path, {"type": "FeatureCollection", "features": features})

"""GeoJSON as QuPath exports it, for the tests beside this."""

from __future__ import annotations

import json

from outline_sources import (
    square,
)


def feature(*rings, kind="detection", classification=None, geometry=None, **more):
    rings = [[*ring, ring[0]] for ring in rings]
    properties = {"objectType": kind}
    if classification:
        properties["classification"] = classification
    geometry = geometry or {"type": "Polygon", "coordinates": rings}
    return {"type": "Feature", "geometry": geometry, "properties": properties, **more}


def collection(*features) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


ONE = feature(square(2, 3, 10, 8))
GOOD = collection(ONE, feature(square(20, 10, 25, 30)))

"""What the objects of this project's data sets are."""

from __future__ import annotations

from typing import Any

NUCLEUS_ID = 1
NUCLEUS_CATEGORIES: list[dict[str, Any]] = [{"id": NUCLEUS_ID, "name": "nucleus"}]
"""The ``categories`` list of the COCO files."""

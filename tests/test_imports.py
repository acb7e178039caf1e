"""Rooms import from the floors below theirs alone."""

import ast
from pathlib import Path

import pytest

import maskrcnnpp

ROOT = Path(maskrcnnpp.__file__).parent
FLOORS = (
    ("errors", "version"),
    ("environment", "lock", "package_files"),
    ("files",),
    ("html_page", "images", "masks", "models", "plots"),
    ("coco", "config", "visualization"),
    ("modeling",),
    ("config_reader", "data", "registration"),
    ("convert", "inference"),
    ("check", "evaluation"),
    ("engine",),
    ("benchmark",),
    ("exporting",),
    ("commands", "napari"),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: name the module from the root"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "maskrcnnpp" and len(part) > 1} & set(FLOOR_OF)


@pytest.mark.parametrize("room", FLOOR_OF)
def test_a_room_imports_from_lower_floors_alone(room):
    files = (ROOT / room).rglob("*.py") if (ROOT / room).is_dir() else [ROOT / f"{room}.py"]
    for path in files:
        too_high = {
            other for other in imported_rooms(path) - {room} if FLOOR_OF[other] >= FLOOR_OF[room]
        }
        assert not too_high, f"{path} imports {sorted(too_high)}"


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in ROOT.rglob("*.py")} - {"__init__"}
    assert rooms == set(FLOOR_OF)

"""Outline files that could be read in two ways: what is an object, how many, and of which plane."""

import numpy as np
import pytest
from dsb2018_source import write_source
from geojson_source import collection, feature
from imagej_source import TIF, polygon, zipped
from labelme_source import content, shape
from outline_sources import IMAGE, read, square
from roifile import ImagejRoi

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.geojson import GeojsonReader
from maskrcnnpp.convert.readers.imagej import ImagejReader
from maskrcnnpp.convert.readers.labelme import LabelmeReader
from maskrcnnpp.convert.readers.monuseg import MonusegReader

CELLS = [square(9 * k % 36, 8 * (k // 4), 9 * k % 36 + 6, 8 * (k // 4) + 6) for k in range(9)]


def multi(squares, **more):
    rings = [[[*ring, ring[0]]] for ring in squares]
    return feature(geometry={"type": "MultiPolygon", "coordinates": rings}, **more)


def on_plane(ring, z=0, t=0):
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return feature(geometry={**geometry, "plane": {"c": -1, "z": z, "t": t}})


def geojson(tmp_path, *features):
    files = {"a.png": IMAGE, "a.geojson": collection(*features)}
    tmp_path.mkdir(exist_ok=True)
    return read(GeojsonReader, write_source(tmp_path, files, "folder"))


def test_a_multipolygon_of_many_cells(tmp_path):
    samples, problems = geojson(tmp_path, multi(CELLS))
    assert not samples
    (problem,) = problems.problems
    assert problem.scope == "image"
    assert "feature 1 is in 9 pieces: is it 9 objects? split it" in problem.reason


def test_a_multipolygon_of_few_pieces_is_one_object_and_reported(tmp_path):
    samples, problems = geojson(tmp_path, multi(CELLS[:2]), feature(CELLS[4]))
    assert len(samples["a"].masks) == 2 and not problems
    assert "1 of 2 objects in several pieces, object 1 in 2" in problems.lines_of_notes()


def test_objects_inside_others_are_read(tmp_path):
    inner = [feature(ring, kind="cell") for ring in CELLS[1:4]]
    inner[0]["childObjects"] = [feature(CELLS[5])]
    region = feature(square(0, 0, 36, 30), kind="annotation", childObjects=inner)
    holder = feature(CELLS[8])
    holder["properties"]["childObjects"] = {"type": "FeatureCollection", "features": [
        feature(CELLS[7])]}  # fmt: skip
    samples, problems = geojson(tmp_path, region, holder)
    assert len(samples["a"].masks) == 6
    assert [problem.scope for problem in problems.problems] == ["region"]
    samples, problems = geojson(tmp_path / "b", {**region, "childObjects": [1]})
    assert not samples and "childObjects that are not a list" in problems.lines()


def test_objects_of_several_planes(tmp_path):
    samples, problems = geojson(tmp_path, on_plane(CELLS[0]), on_plane(CELLS[1], z=3))
    assert not samples
    assert "has objects of 2 planes (z 0 t 0, z 3 t 0), but an image is one" in problems.lines()
    samples, problems = geojson(tmp_path / "b", *(on_plane(ring, z=3) for ring in CELLS))
    assert len(samples["a"].masks) == 9 and not problems


def placed(ring, **position):
    roi = ImagejRoi.frombytes(polygon(ring))
    for key, value in position.items():
        setattr(roi, key, value)
    return roi.tobytes()


@pytest.mark.parametrize(
    ("places", "count"),
    [
        ([{"position": 1}, {"position": 2}], None),
        ([{"t_position": 1}, {"t_position": 5}], None),
        ([{"z_position": 2}, {"z_position": 2}], 2),
        ([{"position": 0}, {"position": 3}], 2),
        ([{"c_position": 1}, {"c_position": 2}], 2),
    ],
)
def test_rois_of_several_slices(tmp_path, places, count):
    rois = [placed(ring, **place) for ring, place in zip(CELLS, places)]
    files = {"a.tif": TIF, "a.zip": zipped(*rois)}
    samples, problems = read(ImagejReader, write_source(tmp_path, files, "folder"))
    if count:
        assert len(samples["a"].masks) == count and not problems
    else:
        assert not samples and "has objects of 2 planes" in problems.lines()


def test_classes_that_stand_for_no_object(tmp_path):
    named = [("Tumor", CELLS[0]), ("Region*", CELLS[1]), ("Ignore*", CELLS[2])]
    features = [feature(ring, classification={"name": name}) for name, ring in named]
    path = write_source(tmp_path, {"a.png": IMAGE, "a.geojson": collection(*features)}, "folder")
    assert [c["name"] for c in GeojsonReader(path, ProblemLog()).categories] == ["Tumor"]
    samples, problems = read(GeojsonReader, path)
    assert samples["a"].category_ids == (1,)
    assert [(p.scope, p.reason[:30]) for p in problems.problems] == [
        ("region", "feature 2 is of the class 'Reg"), ("region", "feature 3 is of the class 'Ign"),
    ]  # fmt: skip
    # unless they are asked for
    samples, problems = read(GeojsonReader, path, class_names=["Region*"])
    assert samples["a"].category_ids == (1,)
    assert [problem.scope for problem in problems.problems] == ["unwanted", "region"]


def test_labels_of_labelme_that_stand_for_no_object(tmp_path):
    labels = ("cell", "_background_", "__ignore__")
    shapes = [shape(ring, label=name) for name, ring in zip(labels, CELLS)]
    path = write_source(tmp_path, {"a.png": IMAGE, "a.json": content(*shapes)}, "folder")
    assert [c["name"] for c in LabelmeReader(path, ProblemLog()).categories] == ["cell"]
    samples, problems = read(LabelmeReader, path)
    assert samples["a"].category_ids == (1,)
    assert [problem.scope for problem in problems.problems] == ["region", "region"]


def test_a_group_of_many_shapes(tmp_path):
    shapes = [shape(ring, group=1) for ring in CELLS]
    files = {"a.png": IMAGE, "a.json": content(*shapes)}
    samples, problems = read(LabelmeReader, write_source(tmp_path, files, "folder"))
    assert not samples and "group 1 is in 9 pieces: is it 9 objects?" in problems.lines()


def xml(rings):
    regions = "".join(
        f'<Region Id="{n}"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ring)
        + "</Vertices></Region>"
        for n, ring in enumerate(rings)
    )
    return (
        f"<Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>".encode()
    )


def test_coordinates_of_a_whole_slide(tmp_path):
    far = [(np.array(ring) + (12000, 8000)).tolist() for ring in CELLS]
    sources = {
        "geojson": (GeojsonReader, "a.geojson", collection(*map(feature, far))),
        "labelme": (LabelmeReader, "a.json", content(*map(shape, far))),
        "imagej": (ImagejReader, "a.zip", zipped(*map(polygon, far))),
        "monuseg": (MonusegReader, "a.xml", xml(far)),
    }
    for name, (reader, file, data) in sources.items():
        (tmp_path / name).mkdir()
        image = ("a.tif", TIF) if name == "imagej" else ("a.png", IMAGE)
        path = write_source(tmp_path / name, dict([image, (file, data)]), "folder")
        samples, problems = read(reader, path)
        assert not samples, name
        (problem,) = problems.problems
        assert problem.scope == "image" and problem.item == file
        assert problem.reason.startswith("9 of 9 outlines have no pixel in the image: are their")

import json

from made_up import script

tile_sizes = script("tile_sizes")


def test_the_page_is_what_the_record_gives():
    record = json.loads(tile_sizes.RECORD.read_text())
    assert tile_sizes.PAGE.read_text() == tile_sizes.page(record)


def test_large_images_and_their_objects_are_taken():
    images = [{"id": 1, "height": 520, "width": 696}, {"id": 2, "height": 256, "width": 700}]
    annotations = [{"id": k, "image_id": k} for k in (1, 2)]
    found = tile_sizes.large_images({"images": images, "annotations": annotations})
    assert [x["id"] for x in found["images"]] == [x["id"] for x in found["annotations"]] == [1]

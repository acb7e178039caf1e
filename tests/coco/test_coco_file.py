from maskrcnnpp.coco import file
from maskrcnnpp.coco.file import load_coco_truth, parse_coco


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text('{"images": [], "categories": []}')
    read = []
    monkeypatch.setattr(file, "parse_coco", lambda *args: read.append(1) or parse_coco(*args))
    assert load_coco_truth(path) == load_coco_truth(str(path)) and len(read) == 1
    path.write_text('{"images": [], "categories": [], "info": {}}')
    assert "info" in load_coco_truth(path) and len(read) == 2
    file.forget_files()
    load_coco_truth(path)
    assert len(read) == 3

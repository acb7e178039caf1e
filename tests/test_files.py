import json

import pytest

from maskrcnnpp.errors import OutputError
from maskrcnnpp.files import atomic_path, write_json_list


@pytest.mark.parametrize("items", [[], [1], [{"a": "ä\n"}, None, [2.5]]])
def test_a_list_is_written_an_item_at_a_time(tmp_path, items):
    path = tmp_path / "new" / "a.json"
    write_json_list(path, iter(items))
    assert json.loads(path.read_text(encoding="utf-8")) == items
    write_json_list(path, iter(items), member="entries")
    assert json.loads(path.read_text(encoding="utf-8")) == {"entries": items}
    write_json_list(path, iter(items), member="entries", around={"type": "T"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"type": "T", "entries": items}


def test_a_list_that_breaks_off_leaves_the_former_file(tmp_path):
    write_json_list(tmp_path / "a.json", [1, 2])

    def broken():
        yield 3
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_json_list(tmp_path / "a.json", broken())
    assert json.loads((tmp_path / "a.json").read_text()) == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="a.json cannot be written"),
        atomic_path(tmp_path / "file" / "a.json"),
    ):
        pass

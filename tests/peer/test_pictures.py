from pathlib import Path

import pytest
from PIL import Image

from paris_p2p.errors import UsageProblem
from paris_p2p.peer.pictures import Picture, contact_sheet, read_provenance, save_pictures


def picture(prompt: str, colour: str = "red") -> Picture:
    return Picture(prompt, Image.new("RGB", (8, 8), colour), {"prompt": prompt, "seed": 3})


def test_one_picture_is_saved_alone_with_its_provenance(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    save_pictures([picture("apple")], path, scale=4)
    with Image.open(path) as image:
        assert image.size == (32, 32)
    assert read_provenance(path) == [{"prompt": "apple", "seed": 3}]


def test_several_pictures_make_a_sheet_that_names_each(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    save_pictures([picture("apple"), picture("pear", "green")], path, scale=4)
    assert [entry["prompt"] for entry in read_provenance(path)] == ["apple", "pear"]


def test_a_sheet_has_four_columns_and_cuts_long_labels() -> None:
    one_row = contact_sheet([picture("a")] * 4, 4)
    two_rows = contact_sheet([picture("a very long prompt " * 20)] * 5, 4)
    assert one_row.width == two_rows.width
    assert two_rows.height > one_row.height


def test_a_place_that_cannot_be_written_is_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "nowhere").touch()
    with pytest.raises(UsageProblem, match="cannot write"):
        save_pictures([picture("a")], tmp_path / "nowhere" / "x.png", 1)


def test_a_picture_of_others_has_no_provenance(tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    Image.new("RGB", (2, 2)).save(path)
    assert read_provenance(path) == []

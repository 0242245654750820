from pathlib import Path

import pytest
from PIL import Image

from paris_p2p.errors import BadContent
from paris_p2p.sampling.pictures import Picture, contact_sheet, png_of, read_provenance


def picture(prompt: str, colour: str = "red") -> Picture:
    return Picture(prompt, Image.new("RGB", (8, 8), colour), {"prompt": prompt, "seed": 3})


def test_one_picture_is_saved_alone_with_its_provenance(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(png_of([picture("apple")], scale=4))
    with Image.open(path) as image:
        assert image.size == (32, 32)
    assert read_provenance(path) == [{"prompt": "apple", "seed": 3}]


def test_several_pictures_make_a_sheet_that_names_each(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    path.write_bytes(png_of([picture("apple"), picture("pear", "green")], scale=4))
    assert [entry["prompt"] for entry in read_provenance(path)] == ["apple", "pear"]


def test_a_sheet_has_four_columns_and_cuts_long_labels() -> None:
    one_row = contact_sheet([picture("a")] * 4, 4)
    two_rows = contact_sheet([picture("a very long prompt " * 20)] * 5, 4)
    assert one_row.width == two_rows.width
    assert two_rows.height > one_row.height


@pytest.mark.parametrize(
    "prompt", ["two\nlines", "\r\n\t", "bell\a and \x1b[31mred", "\u202eback", "word" * 250]
)
def test_any_prompt_can_label_a_sheet(tmp_path: Path, prompt: str) -> None:
    path = tmp_path / "sheet.png"
    path.write_bytes(png_of([picture(prompt)] * 2, scale=4))
    assert [entry["prompt"] for entry in read_provenance(path)] == [prompt] * 2


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_picture_that_came_about_through_what_is_not_finite_is_never_made(number: float) -> None:
    black = Picture("a", Image.new("RGB", (8, 8)), {"lost_mass": number})
    with pytest.raises(BadContent, match="not finite"):
        png_of([black], 1)


def test_a_picture_of_others_has_no_provenance(tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    Image.new("RGB", (2, 2)).save(path)
    assert read_provenance(path) == []

"""The shipped emoji: every row sound, the splits what they promise, bad files refused."""

from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from paris_p2p.data.emoji import (
    TILE_PX,
    EmojiSample,
    load_emoji,
    pixels_of,
    to_signal,
)
from paris_p2p.errors import BadContent

SHIPPED = Path(__file__).parents[2] / "bootstrap" / "shipped_run" / "emoji.parquet"


@pytest.fixture(scope="module")
def samples() -> tuple[EmojiSample, ...]:
    return load_emoji(SHIPPED)


def test_captions_name_the_style_and_are_unique(samples: tuple[EmojiSample, ...]) -> None:
    words = {"fluent-3d": "3d", "fluent-flat": "flat", "noto": "noto", "twemoji": "twemoji"}
    for sample in samples:
        assert sample.caption == f"{sample.label}, {words[sample.style]} style"
    assert len({sample.caption for sample in samples}) == len(samples)


def test_pictures_are_art_on_white(samples: tuple[EmojiSample, ...]) -> None:
    pixels = pixels_of(samples[::50])
    assert pixels.shape[1:] == (3, TILE_PX, TILE_PX) and pixels.dtype == torch.uint8
    corners = pixels[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].float()
    assert corners.mean() > 250
    assert (pixels.float().std(dim=(1, 2, 3)) > 5).all()


def test_held_out_pairs_are_seen_in_other_styles(samples: tuple[EmojiSample, ...]) -> None:
    seen = {sample.concept for sample in samples if sample.split == "train"}
    pairs = [sample for sample in samples if sample.split == "held_out_pair"]
    assert pairs and all(sample.concept in seen for sample in pairs)
    assert len({sample.concept for sample in pairs}) == len(pairs)


def test_held_out_concepts_are_never_seen(samples: tuple[EmojiSample, ...]) -> None:
    hidden = {sample.concept for sample in samples if sample.split == "held_out_concept"}
    others = {sample.concept for sample in samples if sample.split != "held_out_concept"}
    assert hidden and not hidden & others


def test_every_licence_allows_shipping(samples: tuple[EmojiSample, ...]) -> None:
    assert {sample.licence for sample in samples} == {"MIT", "Apache-2.0", "CC-BY-4.0"}


def test_signal_spans_minus_one_to_one() -> None:
    signal = to_signal(torch.tensor([0, 255], dtype=torch.uint8))
    assert signal.tolist() == [-1.0, 1.0]


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    junk = tmp_path / "junk.parquet"
    junk.write_bytes(b"PAR1 no")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"image": [b""]}), other)
    for path in (junk, other, tmp_path / "absent.parquet"):
        with pytest.raises(BadContent):
            load_emoji(path)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    columns = [field.name for field in fields(EmojiSample)]
    row = dict.fromkeys(columns, "x") | {"image": b"", "tags": [], "split": "test"}
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(BadContent, match="split"):
        load_emoji(path)

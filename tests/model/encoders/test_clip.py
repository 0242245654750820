"""The run's own CLIP: words are made of merges, and lies about either are refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.clip import MAX_MERGES, build_tokenizer, load_text_encoder

from .small import CLIP, MERGES, rewritten


def test_merges_make_words_of_letters() -> None:
    tokenizer = build_tokenizer(MERGES, 8)
    assert tokenizer.decode(tokenizer.encode("Cat dog")) == "cat dog "
    assert len(tokenizer.encode("cat dog")) == 2
    assert len(tokenizer.encode("cats")) > 1


@pytest.mark.parametrize(
    "merge", ["", "a", "a b c", "zz q", "c a", "a  b", "<start_of_text> a", "a\u3042 b"]
)
def test_a_merge_that_is_none_is_refused(merge: str) -> None:
    with pytest.raises(BadContent):
        build_tokenizer([*MERGES, merge], 8)


def test_too_many_merges_are_refused() -> None:
    with pytest.raises(BadContent, match="more than"):
        build_tokenizer(["a b"] * (MAX_MERGES + 1), 8)


@pytest.mark.parametrize(
    "metadata",
    [
        {"merges": "nonsense"},
        {"merges": "\n".join([*MERGES, "a b"])},
        {"config": json.dumps(asdict(CLIP) | {"text_width": 1 << 30})},
        {"config": json.dumps(asdict(CLIP) | {"head_width": 9})},
        {"config": json.dumps(asdict(CLIP) | {"context_length": 9})},
    ],
)
def test_a_lying_artefact_is_refused(clip: Path, metadata: dict[str, str]) -> None:
    with pytest.raises(BadContent):
        load_text_encoder(rewritten(clip, metadata))

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from paris_p2p.errors import BadContent
from paris_p2p.model.expert import PRESETS, Expert, build_expert
from paris_p2p.model.weights import (
    MAX_HEADER_BYTES,
    expected_of,
    load_into,
    load_weights,
    read_metadata,
    save_weights,
)

SHAPE = (16, 8, 8)
EXPECTED = {"a": ((2, 3), frozenset({torch.float32})), "b": ((4,), frozenset({torch.bfloat16}))}


def good() -> dict[str, Tensor]:
    return {"a": torch.rand(2, 3), "b": torch.rand(4).bfloat16()}


def with_header(header: object, body: bytes = b"") -> bytes:
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + body


@pytest.fixture
def expert() -> Expert:
    return build_expert(PRESETS["tiny"], SHAPE)


@pytest.mark.parametrize("as_bytes", [True, False])
def test_what_was_saved_comes_back(tmp_path: Path, expert: Expert, as_bytes: bool) -> None:
    path = tmp_path / "expert.safetensors"
    save_weights(path, expert, {"step": "7"}, torch.bfloat16)
    other = build_expert(PRESETS["tiny"], SHAPE)
    load_into(other, path.read_bytes() if as_bytes else path)
    for ours, theirs in zip(expert.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours.bfloat16().float(), theirs)
    assert read_metadata(path) == {"step": "7"}


def test_a_checkpoint_is_small(tmp_path: Path, expert: Expert) -> None:
    path = tmp_path / "expert.safetensors"
    save_weights(path, expert, {}, torch.bfloat16)
    assert path.stat().st_size < 2_700_000


def test_good_tensors_pass() -> None:
    tensors = good()
    loaded = load_weights(save(tensors), EXPECTED)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("b"), "missing, the first is b"),
        (lambda t: t.update(c=torch.rand(1)), "unknown, the first is c"),
        (lambda t: t.update(a=torch.rand(3, 2)), "a must have shape"),
        (lambda t: t.update(a=torch.rand(6)), "a must have shape"),
        (lambda t: t.update(a=torch.rand(2, 3).double()), "may not be stored as F64"),
        (lambda t: t.update(b=torch.rand(4)), "may not be stored as F32"),
        (lambda t: t.update(b=torch.zeros(4, dtype=torch.int16)), "may not be stored as I16"),
        (lambda t: t["a"].fill_(torch.nan), "a has values that are not finite"),
        (lambda t: t["b"].fill_(torch.inf), "b has values that are not finite"),
        (lambda t: t["a"].fill_(3e38), "a has values over"),
        (lambda t: t["b"].fill_(-3e38), "b has values over"),
    ],
)
def test_other_tensors_are_refused(
    change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    tensors = good()
    change(tensors)
    with pytest.raises(BadContent, match=message):
        load_weights(save(tensors), EXPECTED)


DAMAGED = {
    "empty": b"",
    "shorter than a length": b"\x01\x02",
    "a header of 2^60 bytes": (1 << 60).to_bytes(8, "little") + b"{}",
    "a header just too long": (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}",
    "a header that is not there": (100).to_bytes(8, "little") + b"{}",
    "a header that is no JSON": (4).to_bytes(8, "little") + b"\xff\xfe{}",
    "a header nested too deep": (10**5).to_bytes(8, "little") + b"[" * 10**5,
    "a header that is a list": with_header([1]),
    "an entry that is no table": with_header({"a": 1, "b": 2}),
    "a pickle": pickle.dumps(good()),
    "truncated": save(good())[:-1],
    "with bytes after the end": save(good()) + b"\0",
    "ranges that overlap": with_header(
        {
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]},
        },
        bytes(32),
    ),
    "ranges that lie": with_header(
        {
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 1 << 50]},
            "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        },
        bytes(32),
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("as_file", [True, False])
def test_damaged_files_are_refused(tmp_path: Path, kind: str, as_file: bool) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(BadContent):
        load_weights(path if as_file else DAMAGED[kind], EXPECTED)


def test_bad_weights_leave_the_network_as_it_was(tmp_path: Path, expert: Expert) -> None:
    path = tmp_path / "expert.safetensors"
    save_weights(path, expert, {}, torch.bfloat16)
    path.write_bytes(path.read_bytes()[:-2])
    before = {name: tensor.clone() for name, tensor in expert.core.state_dict().items()}
    with pytest.raises(BadContent):
        load_into(expert, path)
    after = expert.core.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_expert_expects_its_own_names(expert: Expert) -> None:
    assert expected_of(expert).keys() == expert.core.state_dict().keys()


def test_words_in_a_strangers_file_do_not_make_it_this_machines_fault() -> None:
    words = "out of memory"
    entries = {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "__metadata__": words,
    }
    expected = {"a": ((1,), frozenset({torch.float32}))}
    with pytest.raises(BadContent, match="damaged"):
        load_weights(with_header(entries, bytes(4)), expected)

from __future__ import annotations

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.records.codec import RECORD_LIMIT
from paris_p2p.records.presence import Presence


def a_presence(signer: Identity, **changes: object) -> Presence:
    fields: dict[str, object] = {
        "run": b"r" * 32,
        "addresses": ("/ip4/127.0.0.1/tcp/1",),
        "agent": "test",
        "role": "peer",
        "time": 0.0,
    }
    return Presence.from_body({**fields, "author": signer.author, **changes})


def test_the_largest_presence_fits_into_the_dht(signer: Identity) -> None:
    largest = a_presence(signer, addresses=("/" + "a" * 127,) * 8, agent="a" * 64)
    assert len(largest.seal(signer)) <= RECORD_LIMIT


@pytest.mark.parametrize(
    "changes",
    [
        {"addresses": ["/ip4/127.0.0.1/tcp/1"] * 9},
        {"addresses": ["/" * 257]},
        {"addresses": ["\n"]},
        {"addresses": [""]},
        {"role": "admin"},
        {"agent": "\x1b]0;owned\x07"},
    ],
)
def test_a_presence_out_of_bounds_is_refused(signer: Identity, changes: dict[str, object]) -> None:
    with pytest.raises(BadContent):
        a_presence(signer, **changes)

from __future__ import annotations

from paris_p2p.records.keys import (
    claims_key,
    contributions_key,
    heads_key,
    peers_key,
    providers_key,
    resume_key,
)
from paris_p2p.records.run import ROUTER


def test_no_two_records_share_a_key() -> None:
    keys: list[str] = []
    for one in (b"a" * 32, b"b" * 32):
        keys += [peers_key(one), providers_key(one), contributions_key(one)]
        for slot in (0, 1, 11, ROUTER):
            keys += [claims_key(one, slot), heads_key(one, slot), resume_key(one, slot)]
    assert len(set(keys)) == len(keys)

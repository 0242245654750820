"""Attacks on the readers of records: the codec, every seal, announcements of heads, manifests."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.peer.books.survey import sealed_records
from paris_p2p.records.claim import Claim, claim_winner
from paris_p2p.records.codec import RECORD_LIMIT, decode, encode, seal
from paris_p2p.records.fields import Signed
from paris_p2p.records.head import Head, ranked_heads
from paris_p2p.records.manifest import MANIFEST_LIMIT, Manifest, content_id
from tests.records.conftest import EXAMPLES, SIGNER

from .mutate import Mutator
from .target import Target

SEALED = {name: record.seal(SIGNER) for name, record in EXAMPLES.items()}
FORGER = Identity(bytes(32))
MANIFEST = Manifest(
    size=3 * (1 << 20) + 17,
    chunk_size=1 << 20,
    chunks=tuple(content_id(bytes([number])) for number in range(4)),
    kind="checkpoint",
    name="expert-3.safetensors",
)
NOW = 1060.0


def targets() -> list[Target]:
    return [
        Target("record codec", 330, _codec),
        Target("sealed records, bent bytes", 130, _bent_seal),
        Target("sealed records, signed again", 130, _signed_again),
        Target("announcements of heads", 30, _announcement),
        Target("manifests", 90, _manifest),
    ]


def _codec(mutator: Mutator) -> None:
    """Any bytes either are the one encoding of a value, or are refused."""
    data = mutator.rng.choice(
        (
            lambda: mutator.garbage(),
            lambda: mutator.bent(mutator.rng.choice(list(SEALED.values()))),
            lambda: mutator.encoded(mutator.rng.choice(list(EXAMPLES.values())).to_body()),
        )
    )()
    with suppress(BadContent):
        value = decode(data, RECORD_LIMIT)
        _expect(encode(value) == data, "a value with two encodings")


def _bent_seal(mutator: Mutator) -> None:
    """No change to sealed bytes leaves them valid."""
    kind, sealed = mutator.rng.choice(list(SEALED.items()))
    bent = mutator.bent(sealed)
    with suppress(BadContent):
        record = type(EXAMPLES[kind]).unseal(bent)
        _expect(bent == sealed, f"a changed record counts as signed: {record}")


def _signed_again(mutator: Mutator) -> None:
    """A body bent by its own author: refused, or a record that can be sealed the same again."""
    kind, example = mutator.rng.choice(list(EXAMPLES.items()))
    body = mutator.value(example.to_body())
    with suppress(BadContent):
        sealed = seal(SIGNER, mutator.rng.choice((kind, kind, kind, "claim")), body)
        record = type(example).unseal(sealed)
        _expect(record.seal(SIGNER) == sealed, "a record with two forms")
        _decide(record)


def _decide(record: Signed) -> None:
    """What a record that was accepted is used for must not fail either."""
    if isinstance(record, Claim):
        others = [record, EXAMPLES["claim"]]
        _expect(claim_winner(others, NOW) == claim_winner(others[::-1], NOW), "no agreement")
    if isinstance(record, Head):
        others = [record, EXAMPLES["head"]]
        _expect(ranked_heads(others) == ranked_heads(others[::-1]), "no agreement")


def _announcement(mutator: Mutator) -> None:
    """The value under a heads key: any number of sealed heads, or nothing of the kind."""
    heads: list[Any] = [SEALED["head"]] * mutator.rng.randrange(6)
    data = mutator.rng.choice((mutator.bent(encode(heads)), mutator.encoded(heads)))
    with suppress(BadContent):
        for sealed in sealed_records(data):
            Head.unseal(sealed)


def _manifest(mutator: Mutator) -> None:
    """A manifest that is accepted is consistent, small, and its own only encoding."""
    body = {**MANIFEST.to_body(), "chunks": b"".join(MANIFEST.chunks)}
    data = mutator.rng.choice((mutator.bent(MANIFEST.encode()), mutator.encoded(body)))
    with suppress(BadContent):
        manifest = Manifest.decode(data)
        _expect(manifest.encode() == data, "a manifest with two encodings")
        _expect(len(data) <= MANIFEST_LIMIT, "a manifest over its limit")
        lengths = [manifest.length(index) for index in range(len(manifest.chunks))]
        _expect(sum(lengths) == manifest.size and all(n > 0 for n in lengths), "impossible sizes")


def _expect(condition: bool, complaint: str) -> None:
    if not condition:
        raise AssertionError(complaint)

from __future__ import annotations

from dataclasses import replace

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.records import contribution
from paris_p2p.records.contribution import Contribution, End, checked, gained_steps
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import content_id

THIEF = Identity(bytes(32))


def entry(
    head: Head, signer: Identity, number: int = 0, previous: bytes | None = None, gained: int = 5
) -> Contribution:
    return Contribution(signer.author, number, previous, gained, head.seal(signer))


def log_of(head: Head, signer: Identity, length: int = 4) -> list[bytes]:
    """The sealed entries of a log, every head ten steps further."""
    sealed: list[bytes] = []
    for number in range(length):
        previous = content_id(sealed[-1]) if sealed else None
        later = replace(head, step=120 + 10 * number)
        sealed.append(entry(later, signer, number, previous).seal(signer))
    return sealed


def test_a_log_that_holds_comes_back(head: Head, signer: Identity) -> None:
    entries = checked(signer.author, log_of(head, signer))
    assert [each.number for each in entries] == [0, 1, 2, 3]
    assert [each.head.step for each in entries] == [120, 130, 140, 150]
    assert checked(signer.author, []) == []


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_an_entry_left_out_shows(head: Head, signer: Identity, gone: int) -> None:
    log = log_of(head, signer)
    del log[gone]
    with pytest.raises(BadContent, match=f"entry {gone} of the log does not follow"):
        checked(signer.author, log)


def test_two_entries_exchanged_show(head: Head, signer: Identity) -> None:
    log = log_of(head, signer)
    log[1], log[2] = log[2], log[1]
    with pytest.raises(BadContent, match="does not follow"):
        checked(signer.author, log)


def test_a_rewritten_entry_breaks_with_what_follows_it(head: Head, signer: Identity) -> None:
    log = log_of(head, signer)
    log[1] = entry(replace(head, step=999), signer, 1, content_id(log[0])).seal(signer)
    with pytest.raises(BadContent, match="entry 2 of the log does not follow"):
        checked(signer.author, log)


def test_every_flipped_byte_shows(head: Head, signer: Identity) -> None:
    (good,) = log_of(head, signer, length=1)
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1
        with pytest.raises(BadContent):
            checked(signer.author, [bytes(bad)])


def test_anothers_log_is_not_this_authors(head: Head, signer: Identity) -> None:
    with pytest.raises(BadContent, match="somebody else's"):
        checked(THIEF.author, log_of(head, signer))


def test_nobody_takes_credit_for_anothers_head(head: Head, signer: Identity) -> None:
    with pytest.raises(BadContent, match="published by somebody else"):
        Contribution(THIEF.author, 0, None, 5, head.seal(signer))


def test_a_head_that_is_not_validly_signed_makes_no_entry(head: Head, signer: Identity) -> None:
    sealed = bytearray(head.seal(signer))
    sealed[-1] ^= 1
    with pytest.raises(BadContent, match="signature"):
        Contribution(signer.author, 0, None, 5, bytes(sealed))


@pytest.mark.parametrize(
    "change",
    [{"gained": 121}, {"number": 1}, {"previous": bytes(32)}, {"sealed_head": b""}],
    ids=lambda change: next(iter(change)),
)
def test_an_inconsistent_entry_is_refused(
    head: Head, signer: Identity, change: dict[str, object]
) -> None:
    with pytest.raises(BadContent):
        replace(entry(head, signer), **change)  # type: ignore[arg-type]


def test_a_log_without_end_is_refused(
    head: Head, signer: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contribution, "MOST_ENTRIES", 3)
    with pytest.raises(BadContent, match="more than 3 entries"):
        checked(signer.author, log_of(head, signer, length=4))


def test_a_log_can_be_taken_up_where_it_ended(head: Head, signer: Identity) -> None:
    first, second = log_of(head, signer, length=2)
    _, end = End(signer.author).followed_by(first)
    entry, end = end.followed_by(second)
    assert (entry.number, end.length, end.last) == (1, 2, content_id(second))


def test_steps_are_claimed_against_a_known_parent_only(head: Head) -> None:
    parent = replace(head, step=100, manifest=b"p" * 32)
    child = replace(head, step=120, parent=b"p" * 32)
    assert gained_steps(child, [parent, head]) == 20
    assert gained_steps(child, [head]) == 0
    assert gained_steps(replace(child, parent=None), []) == 120
    assert gained_steps(replace(child, step=90), [parent]) == 0

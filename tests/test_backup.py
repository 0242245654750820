from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paris_p2p.backup import COST, HIGHEST_COST, LIMIT, LOWEST_COST, MAGIC, MOST_MEMORY, Backup
from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.identity import Identity

IDENTITY = Identity(bytes(range(32)))
PASSPHRASE = "correct horse battery"


def locked() -> bytes:
    """A backup that is quick to open."""
    return Backup(IDENTITY).lock(PASSPHRASE, LOWEST_COST)


def test_a_backup_comes_back() -> None:
    assert Backup.unlock(locked(), PASSPHRASE).identity.author == IDENTITY.author


def test_a_backup_of_the_usual_cost_comes_back() -> None:
    assert Backup.unlock(Backup(IDENTITY).lock(PASSPHRASE), PASSPHRASE).identity.seed
    assert LOWEST_COST <= COST <= HIGHEST_COST


def test_two_backups_of_one_key_have_nothing_in_common_but_the_header() -> None:
    one, other = locked(), locked()
    assert one[len(MAGIC) + 1 :] != other[len(MAGIC) + 1 :]
    assert IDENTITY.seed not in one


def test_every_flipped_byte_is_refused() -> None:
    good = locked()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1
        with pytest.raises(BadContent):
            Backup.unlock(bytes(bad), PASSPHRASE)


def test_every_shortened_and_every_lengthened_file_is_refused() -> None:
    good = locked()
    for bad in [*(good[:length] for length in range(len(good))), good + b"\0"]:
        with pytest.raises(BadContent):
            Backup.unlock(bad, PASSPHRASE)


@pytest.mark.parametrize("guess", ["", "correct horse batter", "Correct horse battery", "x" * 9999])
def test_another_passphrase_does_not_open_it(guess: str) -> None:
    with pytest.raises(BadContent, match="the passphrase is wrong, or the backup is damaged"):
        Backup.unlock(locked(), guess)


def test_a_passphrase_is_the_same_however_its_accents_are_typed() -> None:
    composed, taken_apart = "caf\u00e9 au lait", "cafe\u0301 au lait"
    assert Backup.unlock(Backup(IDENTITY).lock(composed, LOWEST_COST), taken_apart)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(UsageProblem, match="at least 8 characters"):
        Backup(IDENTITY).lock("seven77")


@pytest.mark.parametrize("cost", [0, LOWEST_COST - 1, HIGHEST_COST + 1, 30, 63, 255])
def test_a_hostile_cost_is_refused_before_any_memory_is_taken(cost: int) -> None:
    hostile = bytearray(locked())
    hostile[len(MAGIC)] = cost
    with pytest.raises(BadContent, match="more memory"):
        Backup.unlock(bytes(hostile), PASSPHRASE)
    assert MOST_MEMORY == 256 << 20


def test_a_file_too_large_is_no_backup() -> None:
    with pytest.raises(BadContent, match="not a backup"):
        Backup.unlock(locked() + bytes(LIMIT), PASSPHRASE)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_is_no_backup_is_refused(data: bytes) -> None:
    with pytest.raises(BadContent):
        Backup.unlock(data, PASSPHRASE)

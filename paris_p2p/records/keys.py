"""Under which DHT key each record is found. Under a key, every announcer has its own subkey."""

from __future__ import annotations

_ROOT = "paris/1"

PEER_LEVELS = 4
"""Levels of pages under `peers_key`, see network/key_pages.py: 31 pages, room for 3968 peers."""

SHARED_LEVELS = 1
"""Levels of pages under keys where many say the same (heads, resume states, providers): 3 pages,
room for 384. Nobody needs more sources, or more copies of one record, than that."""


def peers_key(run: bytes) -> str:
    """Presence records of a run's peers."""
    return f"{_ROOT}/{run.hex()}/peers"


def claims_key(run: bytes, expert: int) -> str:
    """Claims on one slot of a run."""
    return f"{_ROOT}/{run.hex()}/{expert}/claims"


def heads_key(run: bytes, expert: int) -> str:
    """Heads of one slot of a run, each passed on by any number of announcers."""
    return f"{_ROOT}/{run.hex()}/{expert}/heads"


def resume_key(run: bytes, expert: int) -> str:
    """Resume states of one slot of a run, each passed on by any number of announcers."""
    return f"{_ROOT}/{run.hex()}/{expert}/resumes"


def providers_key(content_id: bytes) -> str:
    """Who serves this content."""
    return f"{_ROOT}/providers/{content_id.hex()}"


def contributions_key(author: bytes) -> str:
    """Where an author's contribution log is, in the author's own words."""
    return f"{_ROOT}/contributions/{author.hex()}"

"""The DHT keys of records. Under a key, every announcer has its own subkey."""

from __future__ import annotations

_ROOT = "paris/1"

PEER_LEVELS = 4
"""Levels of key pages under `peers_key`: 31 pages, room for 3968 peers. See `network/key_pages`."""

SHARED_LEVELS = 1
"""Levels of key pages under keys where many peers announce the same (heads, resume states,
providers): 3 pages, room for 384. Nobody needs more sources or more copies of one record."""


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
    """Presence records of the providers of this content."""
    return f"{_ROOT}/providers/{content_id.hex()}"


def contributions_key(author: bytes) -> str:
    """Presence records of the peers that serve this author's contribution log."""
    return f"{_ROOT}/contributions/{author.hex()}"

"""How many files this process may have open: each stream, connection and chunk in use is one."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

WANTED = 1 << 16
"""Enough for everything that we bound elsewhere, and no more than a kernel lets anybody have."""


def allow_many() -> None:
    """Raise this process's limit, and that of what it starts, as far as it may without rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = raised(soft, hard)
    if wanted == soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        logger.warning("no more than %d files may be open: %s", soft, error)


def raised(soft: int, hard: int) -> int:
    """The soft limit to have, given both; it never goes down."""
    endless = resource.RLIM_INFINITY
    if soft == endless or soft >= WANTED:
        return soft
    return WANTED if hard == endless else max(soft, min(WANTED, hard))

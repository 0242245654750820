"""The limit on this process's open files: each stream, connection and chunk in use takes one."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

WANTED = 1 << 16
"""Enough for everything bounded elsewhere, and no more than any kernel allows."""


def allow_many() -> None:
    """Raise the limit of this process and its children as far as an unprivileged one may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = raised(soft, hard)
    if wanted == soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        logger.warning("no more than %d files may be open: %s", soft, error)


def raised(soft: int, hard: int) -> int:
    """The soft limit to set; it is never lowered."""
    endless = resource.RLIM_INFINITY
    if soft == endless or soft >= WANTED:
        return soft
    return WANTED if hard == endless else max(soft, min(WANTED, hard))

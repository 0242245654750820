"""Tells out-of-memory errors apart: they say nothing about the file that was being read."""

from __future__ import annotations

from typing import Final

_WORDS: Final = ("out of memory", "allocate memory", "not enough memory")
"""Words in torch's messages, on any device."""


def out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python asked for more memory than there is.

    The words count only in torch's own errors: other errors repeat text from a stranger's file.
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)

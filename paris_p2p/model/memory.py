"""Telling that memory ran out, which says nothing about the file that was being read."""

from __future__ import annotations

from typing import Final

_WORDS: Final = ("out of memory", "allocate memory", "not enough memory")
"""What torch says, on any device."""


def out_of_memory(error: BaseException) -> bool:
    """Whether this is torch, or Python, asking for more memory than there is.

    The words count in torch's own errors alone: others repeat what stands in a stranger's file.
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)

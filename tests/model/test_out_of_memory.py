from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError

from paris_p2p.model.out_of_memory import out_of_memory

WORDS = "CUDA out of memory"


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(WORDS), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("a shape does not fit"), False),
        (SafetensorError(WORDS), False),
        (ValueError(WORDS), False),
        (KeyError(WORDS), False),
    ],
)
def test_only_what_asks_for_memory_can_say_that_there_is_none(
    error: Exception, meant: bool
) -> None:
    assert out_of_memory(error) is meant

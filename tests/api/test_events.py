"""Server-sent events: numbers, the last message, comments while there is nothing to tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from paris_p2p.api.events import decode_numbered, encode_job, kept_alive
from paris_p2p.errors import Held


async def numbered() -> AsyncGenerator[tuple[int, dict[str, str]]]:
    yield 4, {"event": "claimed"}
    yield 9, {"event": "released"}


async def failing() -> AsyncGenerator[tuple[int, dict[str, str]]]:
    yield 4, {"event": "claimed"}
    raise Held("it is held", "take another")


async def lines_of(messages: AsyncGenerator[str]) -> list[str]:
    return "".join([message async for message in messages]).splitlines()


async def test_a_job_s_events_carry_numbers_and_end_with_what_it_came_to() -> None:
    lines = await lines_of(encode_job(numbered()))
    assert lines[0] == "id: 4"
    assert list(decode_numbered(lines)) == [
        (4, {"event": "claimed"}),
        (9, {"event": "released"}),
        (9, {"event": "ended"}),
    ]
    with pytest.raises(Held, match="it is held"):
        list(decode_numbered(await lines_of(encode_job(failing()))))


async def test_while_there_is_nothing_to_tell_comments_show_who_listens() -> None:
    go_on = asyncio.Event()
    closed = []

    async def slow() -> AsyncGenerator[str]:
        try:
            yield "one"
            await go_on.wait()
            yield "two"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async with aclosing(kept_alive(slow(), 0.01)) as messages:
        assert await anext(messages) == "one"
        assert await anext(messages) == ": alive\n\n"
        assert await anext(messages) == ": alive\n\n"
        go_on.set()
        while (message := await anext(messages)) != "two":
            assert message == ": alive\n\n"
    assert closed == [True]

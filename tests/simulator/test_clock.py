from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from simulator.clock import Endless, JumpingLoop, NothingLeft, run_virtually

FOREVER = 3e7
"""Seconds that no test can have waited."""


def test_a_year_passes_at_once_and_in_order() -> None:
    woken: list[str] = []

    async def wake(name: str, after: float) -> None:
        await asyncio.sleep(after)
        woken.append(name)

    async def year() -> float:
        await asyncio.gather(wake("late", FOREVER), wake("early", 1.0), wake("next", 1.5))
        return asyncio.get_running_loop().time()

    assert run_virtually(year()) == pytest.approx(FOREVER)
    assert woken == ["early", "next", "late"]


def test_timeouts_are_on_the_same_clock() -> None:
    async def give_up() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.sleep(200)
        return asyncio.get_running_loop().time()

    assert run_virtually(give_up()) == pytest.approx(100)


def test_time_stands_still_while_a_thread_works() -> None:
    async def work() -> float:
        ticking = asyncio.create_task(asyncio.sleep(FOREVER))
        for _ in range(3):
            await asyncio.to_thread(time.sleep, 0.01)
        assert not ticking.done()
        return asyncio.get_running_loop().time()

    assert run_virtually(work()) == 0


def test_a_thread_that_outlives_its_wait_is_waited_for_at_the_end() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        time.sleep(0.05)
        ended.set()

    async def leave() -> None:
        job = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.to_thread(begun.wait)
        job.cancel()
        await asyncio.wait([job])

    run_virtually(leave())
    assert ended.is_set()


def test_a_child_process_gets_the_time_that_it_needs() -> None:
    async def ask(*command: str) -> tuple[bytes, float]:
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(300):
            said, _ = await child.communicate()
        assert await child.wait() == 0
        await asyncio.sleep(FOREVER)
        return said, asyncio.get_running_loop().time()

    said, passed = run_virtually(ask(sys.executable, "-c", "print('done')"))
    assert said.strip() == b"done"
    assert FOREVER < passed < FOREVER + 300


def test_a_child_process_without_pipes_is_waited_for() -> None:
    async def wait() -> int:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
        async with asyncio.timeout(300):
            return await child.wait()

    assert run_virtually(wait()) == 7


def test_a_socket_gets_the_time_that_it_needs() -> None:
    async def talk() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with asyncio.timeout(300):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"word\n")
            said = await reader.read()
        writer.close()
        server.close()
        return said

    assert run_virtually(talk()) == b"word\n"


def fails(loop: JumpingLoop, main: Coroutine[Any, Any, Any], error: type[Exception]) -> str:
    """What a loop says of this, after which it is closed."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        with pytest.raises(error) as raised:
            runner.run(main)
        return str(raised.value)


def test_a_wait_for_nobody_is_noticed_and_told() -> None:
    async def deadlock() -> None:
        await asyncio.get_running_loop().create_future()

    assert "deadlock" in fails(JumpingLoop(), deadlock(), NothingLeft)


def test_a_wait_for_nobody_beside_a_timer_is_noticed_and_told() -> None:
    async def tick() -> None:
        for _ in itertools.count():
            await asyncio.sleep(10)

    async def deadlock() -> None:
        await asyncio.create_task(tick())

    assert "tick" in fails(JumpingLoop(longest=3600), deadlock(), Endless)

from __future__ import annotations

import asyncio
import time

import pytest

from simulator.clock import NothingLeft, VirtualLoop, run_virtually


def test_a_year_passes_at_once_and_in_order() -> None:
    woken: list[str] = []

    async def wake(name: str, after: float) -> None:
        await asyncio.sleep(after)
        woken.append(name)

    async def year() -> float:
        await asyncio.gather(wake("late", 3e7), wake("early", 1.0), wake("next", 1.5))
        return asyncio.get_running_loop().time()

    begun = time.process_time()
    assert run_virtually(year()) == pytest.approx(3e7)
    assert woken == ["early", "next", "late"]
    assert time.process_time() - begun < 3e7


def test_timeouts_are_on_the_same_clock() -> None:
    async def give_up() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.sleep(200)
        return asyncio.get_running_loop().time()

    assert run_virtually(give_up()) == pytest.approx(100)


def test_a_wait_for_nobody_is_noticed() -> None:
    async def deadlock() -> None:
        await asyncio.get_running_loop().create_future()

    loop = VirtualLoop()
    with pytest.raises(NothingLeft):
        loop.run_until_complete(deadlock())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

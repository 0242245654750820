"""The registry of jobs: what is kept of their events, and who may lag, leave or come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from paris_p2p.errors import BadContent, NotAvailable, ParisError, Unreachable, UsageProblem
from paris_p2p.peer.jobs import MOST_ENDED, MOST_RUNNING, EventLog, Job, Jobs
from tests.peer.worlds import eventually


class Errand:
    """Work that tells what a test has it tell, until it is stopped."""

    slot: int | None = 3
    run_id = bytes(32)

    def __init__(self, name: str = "errand") -> None:
        self.id = name
        self._told: asyncio.Queue[dict[str, Any] | Exception | None] = asyncio.Queue()

    def tell(self, kind: str, **details: Any) -> None:
        self._told.put_nowait({"event": kind, **details})

    def fail(self, error: Exception) -> None:
        self._told.put_nowait(error)

    def stop(self) -> None:
        self.tell("saved")
        self.finish()

    def finish(self) -> None:
        self._told.put_nowait(None)

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        while (item := await self._told.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item


@pytest.fixture
def jobs() -> Jobs:
    return Jobs(lambda: 7.0)


async def names(job: Job, after: int = 0) -> list[str]:
    return [event["event"] async for _, event in job.follow(after)]


def test_of_progress_only_the_newest_of_each_thing_is_kept_and_everything_else_is() -> None:
    log = EventLog()
    log.add({"event": "claimed"})
    for have in range(3):
        log.add({"event": "fetching", "content": "a", "bytes": have})
    log.add({"event": "published"})
    log.add({"event": "fetching", "content": "b", "bytes": 0})
    log.add({"event": "fetching", "content": "a", "bytes": 3})
    assert [(number, event["event"]) for number, event in log.after(0)] == [
        (1, "claimed"),
        (5, "published"),
        (6, "fetching"),
        (7, "fetching"),
    ]
    assert [number for number, _ in log.after(5)] == [6, 7]
    assert log.after(7) == []


def test_a_log_has_a_bound_beyond_which_the_oldest_goes() -> None:
    log = EventLog(most=3)
    for step in range(5):
        log.add({"event": "published", "step": step})
        log.add({"event": "progress", "step": step})
    assert [number for number, _ in log.after(0)] == [7, 9, 10]


async def test_a_listener_that_lags_misses_progress_and_nothing_else(jobs: Jobs) -> None:
    errand = Errand()
    job = jobs.begin("errand", errand)
    async with aclosing(job.follow()) as events:
        errand.tell("claimed")
        assert (await anext(events))[1]["event"] == "claimed"
        for step in range(100):
            errand.tell("progress", step=step)
        errand.tell("published")
        errand.tell("progress", step=100)
        errand.finish()
        await jobs.ended()
        rest = [event async for _, event in events]
    assert rest == [{"event": "published"}, {"event": "progress", "step": 100}]


async def test_a_listener_that_comes_back_hears_the_rest(jobs: Jobs) -> None:
    errand = Errand()
    job = jobs.begin("errand", errand)
    errand.tell("one")
    errand.tell("two")
    async with aclosing(job.follow()) as events:
        heard, _ = await anext(events)
    errand.tell("three")
    errand.finish()
    assert await names(job, heard) == ["two", "three"]
    assert await names(job, 10**9) == []


async def test_a_listener_that_leaves_ends_nothing(jobs: Jobs) -> None:
    errand = Errand()
    job = jobs.begin("errand", errand)
    errand.tell("one")
    events = job.follow()
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert jobs.running() == [job]
    errand.tell("two")
    errand.finish()
    assert await names(job) == ["one", "two"]
    assert (job.outcome, job.ended, job.last) == ("done", 7.0, {"event": "two"})


async def test_a_job_that_is_told_to_stop_ends_in_good_order(jobs: Jobs) -> None:
    job = jobs.begin("errand", Errand())
    job.stop()
    assert job.outcome is None
    assert await names(job) == ["saved"]
    assert job.outcome == "stopped"
    job.stop()
    assert job.outcome == "stopped"


async def test_what_a_job_fails_with_is_told_to_everybody_who_follows(jobs: Jobs) -> None:
    errand = Errand()
    job = jobs.begin("errand", errand)
    errand.tell("one")
    errand.fail(BadContent("it is broken"))
    for _ in range(2):
        with pytest.raises(BadContent, match="is broken"):
            await names(job)
    assert job.outcome == "failed"


async def test_what_nobody_foresaw_is_logged_and_told_too(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    errand = Errand()
    job = jobs.begin("errand", errand)
    errand.fail(ZeroDivisionError("unforeseen"))
    with pytest.raises(ParisError, match=r"errand failed: .*unforeseen"):
        await names(job)
    assert "Traceback" in caplog.text


async def test_jobs_are_found_by_their_id_for_a_while_after_their_end(jobs: Jobs) -> None:
    for number in range(MOST_ENDED + 3):
        errand = Errand(f"{number}")
        jobs.begin("errand", errand)
        errand.finish()
        await jobs.ended()
    last = jobs.begin("errand", Errand("last"))
    await eventually(lambda: len(jobs.all()) == MOST_ENDED + 1)
    assert jobs.named("last") is last
    assert jobs.named("3").outcome == "done"
    with pytest.raises(NotAvailable, match="no job '2'"):
        jobs.named("2")


async def test_there_is_a_bound_to_how_many_run(jobs: Jobs) -> None:
    for number in range(MOST_RUNNING):
        jobs.begin("errand", Errand(f"{number}"))
    with pytest.raises(UsageProblem, match="64 jobs"):
        jobs.begin("errand", Errand())
    jobs.close()
    await jobs.ended()


async def test_a_peer_that_leaves_stops_all_and_begins_none(jobs: Jobs) -> None:
    job = jobs.begin("errand", Errand())
    jobs.close()
    with pytest.raises(Unreachable, match="leaving"):
        jobs.begin("errand", Errand())
    await jobs.ended()
    assert job.outcome == "stopped"

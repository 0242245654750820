"""A job that the sampling process does: its turn, its events, its questions, its end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from paris_p2p.errors import error_from
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.sampling.answers import ANSWER, Answers
from paris_p2p.peer.sampling.worker_handle import Sampler, SamplingProcess, Senseless
from paris_p2p.peer.transfer.head_candidates import find_candidates

Event = dict[str, Any]

NUMBERS: Final = {
    "loading": (),
    "sampling": ("step", "steps", "steps_per_second"),
    "exporting": ("part", "parts"),
    "importing": ("part", "parts"),
}
"""The events of the sampling process that are forwarded, and the numbers in each."""


class ProcessJob(ABC):
    """One job. Iterate `events()`; `stop()` ends it without its last event."""

    slot: int | None = None

    def __init__(self, node: Node[Membership], sampler: Sampler, run_id: bytes) -> None:
        self._sampler = sampler
        self._stopped = asyncio.Event()
        self.id = node.rng.randbytes(8).hex()
        self.run_id = run_id

    def stop(self) -> None:
        self._stopped.set()

    async def events(self) -> AsyncGenerator[Event]:
        """queued, loading, warning, and those of the kind. A stopped job ends without the last one.

        Errors are raised.
        """
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            async with aclosing(self._in_turn()) as events:
                while True:
                    coming = asyncio.ensure_future(anext(events, None))
                    await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        coming.cancel()
                        await asyncio.wait({coming})
                        return
                    event = coming.result()
                    if event is None:
                        return
                    yield event
        finally:
            await end_tasks(stopping)

    async def _in_turn(self) -> AsyncGenerator[Event]:
        if self._sampler.busy:
            yield {"event": "queued"}
        async with self._sampler.turn() as process, aclosing(self.work(process)) as events:
            async for event in events:
                yield event

    @abstractmethod
    def work(self, process: SamplingProcess) -> AsyncGenerator[Event]:
        """Do the job in its turn; the last event says what came of it."""


async def ensemble_work(
    membership: Membership, process: SamplingProcess, job: Event, end: str
) -> AsyncGenerator[Event]:
    """A job on the networks of a run: its events, with the process's questions answered.

    looking, fetching, what the process tells, and its last message, called `end`, as it is.
    """
    async with aclosing(find_candidates(membership)) as looking:
        async for event in looking:
            if event["event"] == "heads":
                found = event
            else:
                yield event
    answers = Answers(membership, found["heads"])
    try:
        await process.begin({**job, "sealed_run": found["sealed_run"], "heads": found["heads"]})
        while True:
            message = await process.hear()
            if "ask" not in message:
                yield told(message, end)
                if message["event"] == end:
                    return
                continue
            async with aclosing(answers.to(message)) as events:
                async for event in events:
                    if event["event"] == ANSWER:
                        await process.say({"answer": event["answer"]})
                    else:
                        yield event
    finally:
        await answers.close()


def told(message: Event, end: str) -> Event:
    """An event of the sampling process to forward, or as it is if called `end`.

    Raises the error in it.
    """
    kind = message.get("event")
    if kind == "error":
        fields = {"message": str, "remedy": str, "exit_code": int}
        if not all(isinstance(message.get(name), type_) for name, type_ in fields.items()):
            raise Senseless("its message is malformed")
        raise error_from(message)
    if kind == "warning" and isinstance(message.get("text"), str):
        return {"event": "warning", "text": message["text"]}
    if kind == end:
        return message
    if not isinstance(kind, str) or kind not in NUMBERS:
        raise Senseless("its message is malformed")
    numbers = {name: message.get(name) for name in NUMBERS[kind]}
    if not all(isinstance(number, int | float) for number in numbers.values()):
        raise Senseless("its message is malformed")
    return {"event": kind, **numbers}

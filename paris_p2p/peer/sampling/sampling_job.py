"""A request to sample, from the queue to the finished picture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final

from paris_p2p.errors import error_from
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.sampling.answers import ANSWER, Answers
from paris_p2p.peer.sampling.picture_cache import PictureCache
from paris_p2p.peer.sampling.worker_handle import Sampler, SamplingProcess, Senseless
from paris_p2p.peer.transfer.head_candidates import find_candidates
from paris_p2p.sampling.request import SampleRequest

Event = dict[str, Any]

SAMPLING: Final = "sampling"
"""The kind of sampling jobs."""

NUMBERS: Final = {"loading": (), "sampling": ("step", "steps", "steps_per_second")}
"""The events of the sampling process that are forwarded, and the numbers in each."""


class SamplingJob:
    """One request. Iterate `events()`; `stop()` ends it without a picture."""

    slot: int | None = None

    def __init__(self, membership: Membership, sampler: Sampler, request: SampleRequest) -> None:
        self._membership = membership
        self._sampler = sampler
        self._request = request
        self._stopped = asyncio.Event()
        self.id = membership.node.rng.randbytes(8).hex()
        self.run_id = membership.run_id

    def stop(self) -> None:
        self._stopped.set()

    async def events(self) -> AsyncGenerator[Event]:
        """queued, looking, fetching, loading, sampling, warning; sampled.

        "sampled" has the "file", where its "images" come from, and the bytes "fetched" for them.

        A stopped job ends without "sampled". Errors are raised.
        """
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            async with aclosing(self._drawn()) as events:
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

    async def _drawn(self) -> AsyncGenerator[Event]:
        if self._sampler.busy:
            yield {"event": "queued"}
        async with self._sampler.turn() as process:
            async with aclosing(find_candidates(self._membership)) as looking:
                async for event in looking:
                    if event["event"] == "heads":
                        found = event
                    else:
                        yield event
            answers = Answers(self._membership, found["heads"])
            try:
                async with aclosing(self._worked(process, found, answers)) as events:
                    async for event in events:
                        yield event
            finally:
                await answers.close()

    async def _worked(
        self, process: SamplingProcess, found: Event, answers: Answers
    ) -> AsyncGenerator[Event]:
        """The process's events until the picture is there. Answers its questions meanwhile."""
        pictures = PictureCache.of(self._membership.node.home)
        file = await asyncio.to_thread(pictures.place, self.id)
        job = {
            "id": self.id,
            "sealed_run": found["sealed_run"],
            "heads": found["heads"],
            "request": asdict(self._request),
            "file": str(file),
        }
        await process.begin(job)
        fetched: dict[str, int] = {}
        while True:
            message = await process.hear()
            if "ask" in message:
                async with aclosing(answers.to(message)) as events:
                    async for event in events:
                        if event["event"] == ANSWER:
                            await process.say({"answer": event["answer"]})
                            continue
                        if event["event"] == "fetching":
                            fetched[event["content"]] = event["bytes"]
                        yield event
            elif message.get("event") == "sampled":
                images = _images(message, len(self._request.captions()))
                total = sum(fetched.values())
                yield {"event": "sampled", "file": str(file), "images": images, "fetched": total}
                return
            else:
                yield _told(message)


def _images(message: Event, count: int) -> list[Event]:
    """The origins of `count` images, as the process reports them. Senseless if malformed."""
    images = message.get("images")
    if not isinstance(images, list) or len(images) != count or not all(map(_is_origin, images)):
        raise Senseless("its message is malformed")
    return images


def _is_origin(image: object) -> bool:
    if not isinstance(image, dict) or not isinstance(image.get("expert_weights"), dict):
        return False
    numbers = [image.get("lost_mass"), *image["expert_weights"].values()]
    return all(isinstance(number, int | float) for number in numbers)


def _told(message: Event) -> Event:
    """An event of the sampling process to forward. Raises the error that it reports."""
    kind = message.get("event")
    if kind == "error":
        fields = {"message": str, "remedy": str, "exit_code": int}
        if not all(isinstance(message.get(name), type_) for name, type_ in fields.items()):
            raise Senseless("its message is malformed")
        raise error_from(message)
    if kind == "warning" and isinstance(message.get("text"), str):
        return {"event": "warning", "text": message["text"]}
    if not isinstance(kind, str) or kind not in NUMBERS:
        raise Senseless("its message is malformed")
    numbers = {name: message.get(name) for name in NUMBERS[kind]}
    if not all(isinstance(number, int | float) for number in numbers.values()):
        raise Senseless("its message is malformed")
    return {"event": kind, **numbers}

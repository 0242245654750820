"""A request to sample, from the queue to the finished picture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Final

from paris_p2p.peer.membership import Membership
from paris_p2p.peer.sampling.picture_cache import PictureCache
from paris_p2p.peer.sampling.process_job import Event, ProcessJob, ensemble_work
from paris_p2p.peer.sampling.worker_handle import Sampler, SamplingProcess, Senseless
from paris_p2p.sampling.request import SampleRequest

SAMPLING: Final = "sampling"
"""The kind of sampling jobs."""


class SamplingJob(ProcessJob):
    """One request. Events: looking, fetching, loading, sampling, warning; sampled.

    "sampled" has the "file", where its "images" come from, and the bytes "fetched" for them.
    """

    def __init__(self, membership: Membership, sampler: Sampler, request: SampleRequest) -> None:
        super().__init__(membership.node, sampler, membership.run_id)
        self._membership = membership
        self._request = request

    async def work(self, process: SamplingProcess) -> AsyncGenerator[Event]:
        pictures = PictureCache.of(self._membership.node.home)
        file = await asyncio.to_thread(pictures.place, self.id)
        job = {
            "id": self.id,
            "kind": SAMPLING,
            "request": asdict(self._request),
            "file": str(file),
        }
        fetched: dict[str, int] = {}
        async with aclosing(ensemble_work(self._membership, process, job, "sampled")) as events:
            async for event in events:
                if event["event"] == "fetching":
                    fetched[event["content"]] = event["bytes"]
                if event["event"] != "sampled":
                    yield event
                    continue
                images = _images(event, len(self._request.captions()))
                total = sum(fetched.values())
                yield {"event": "sampled", "file": str(file), "images": images, "fetched": total}


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

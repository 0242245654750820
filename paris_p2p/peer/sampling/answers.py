"""The answers to the questions of the sampling process: files, heads, condemnations.

The process computes with strangers' weights. So a question may only be about this run's encoders,
or heads that the process was offered. It may condemn only a head that it was given.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

from paris_p2p.errors import ParisError, error_event
from paris_p2p.identity import author_of
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.sampling.worker_handle import Senseless
from paris_p2p.peer.transfer.head_candidates import find_candidates
from paris_p2p.peer.transfer.obtaining import checkpoint_limit, obtain
from paris_p2p.peer.transfer.racing import GLANCE, first_complete

Message = dict[str, Any]
Rows = Mapping[str, Sequence[Mapping[str, Any]]]

ANSWER = "answer"
"""Name of the last event of a question, with the answer under "answer"."""


class Answers:
    """Answers to one job. The content that it was given stays on the disk until `close`."""

    def __init__(self, membership: Membership, offered: Rows) -> None:
        self._membership = membership
        self._offered = {slot: list(heads) for slot, heads in offered.items()}
        self._given: set[str] = set()
        self._kept = AsyncExitStack()

    async def close(self) -> None:
        await self._kept.aclose()

    async def to(self, question: Message) -> AsyncGenerator[Message]:
        """The events on the way to an answer, then the answer. Senseless for a bad question."""
        asking = {
            "fetch": self._fetch,
            "fetch-head": self._fetch_head,
            "heads": self._heads,
            "condemn": self._condemn,
        }
        ask = asking.get(str(question.get("ask")))
        if ask is None:
            raise Senseless("it asked an unknown question")
        try:
            async with aclosing(ask(question)) as events:
                async for event in events:
                    yield event
        except Senseless:
            raise
        except ParisError as error:
            yield _answer(error=error_event(error))

    async def _fetch(self, question: Message) -> AsyncGenerator[Message]:
        run = self._membership.run
        content = question.get("content")
        if content not in (run.autoencoder.reference, run.text_encoder.reference):
            raise Senseless("it asked for content that is not an encoder of this run")
        wanted = bytes.fromhex(str(content))
        most = checkpoint_limit(self._membership, wanted)
        async with aclosing(obtain(self._membership, [wanted], most)) as events:
            async for event in events:
                yield event
        yield _answer(path=await self._path(wanted))

    async def _fetch_head(self, question: Message) -> AsyncGenerator[Message]:
        slot, contents = self._slot_of(question), question.get("contents")
        offered = {head["manifest"] for head in self._offered[str(slot)]}
        if not isinstance(contents, list) or not contents or not _all_of(contents, offered):
            raise Senseless("it asked for heads that it was not offered")
        most = self._membership.run.checkpoint_limit(slot)

        def fetch(content: bytes) -> AsyncGenerator[Message]:
            return obtain(self._membership, [content], most, GLANCE)

        wanted = [bytes.fromhex(content) for content in contents]
        async with self._membership.node.using(wanted):
            async with aclosing(first_complete(fetch, wanted)) as events:
                async for event in events:
                    if event["event"] == "complete":
                        content = event["content"]
                    else:
                        yield event
            path = await self._path(bytes.fromhex(content))
        self._given.add(content)
        yield _answer(content=content, path=path)

    async def _heads(self, question: Message) -> AsyncGenerator[Message]:
        slot = str(self._slot_of(question))
        async with aclosing(find_candidates(self._membership)) as events:
            async for event in events:
                if event["event"] == "heads":
                    self._offered[slot] = event["heads"][slot]
                    yield _answer(heads=self._offered[slot])
                else:
                    yield event

    async def _condemn(self, question: Message) -> AsyncGenerator[Message]:
        """Condemn a given head. Records that contradict each other blame their author only."""
        head, reason = question.get("head"), question.get("reason")
        if not isinstance(head, dict) or not isinstance(reason, str):
            raise Senseless("it condemned no head, or gave no reason")
        if not _all_of([head.get("manifest")], self._given):
            raise Senseless("it condemned a head that it was not given")
        content, author = bytes.fromhex(head["manifest"]), author_of(str(head.get("author")))
        records = [record for record in self._membership.naming(content) if record.author == author]
        condemned = bool(records)
        for record in records:
            condemned = condemned and await self._membership.condemn(record, reason)
        yield _answer(condemned=condemned)

    def _slot_of(self, question: Message) -> int:
        slot = question.get("slot")
        if isinstance(slot, bool) or slot not in self._membership.run.slots():
            raise Senseless("it asked for a slot that this run does not have")
        return int(slot)

    async def _path(self, content: bytes) -> str:
        """The file of a content. It stays until `close`."""
        await self._kept.enter_async_context(self._membership.node.using([content]))
        return str(await self._membership.node.path(content))


def _answer(**answer: Any) -> Message:
    return {"event": ANSWER, "answer": answer}


def _all_of(contents: Sequence[object], offered: set[str]) -> bool:
    return all(isinstance(content, str) and content in offered for content in contents)

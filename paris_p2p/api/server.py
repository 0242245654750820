"""The routes of a peer's local API.

    GET  /v1/ping            {"run": hex} when the peer is up
    GET  /v1/session         stays open; while any is, a peer started for a command stays up
    GET  /v1/status          the run's slots, the peers, what this peer holds
    GET  /v1/heads           the best heads of every slot, best first, after a look at the DHT
    GET  /v1/checkup         {"rows": [{"check", "state", "seen", "remedy"}, ...],
                              "training_bytes": least memory to train an expert of the run}
    GET  /v1/contributions   ?author=hex -> the log of what that author published, checked
    POST /v1/connect         {"address": multiaddr}: meet one more peer
    POST /v1/fetch           {"contents": [hex, ...], "patience": seconds without a byte, or null}
                              -> events: fetching*, fetched {"paths"}
    POST /v1/candidates      {} -> events: looking*, heads: as /v1/heads, but without the heads
                              that nobody serves
    POST /v1/fetch-head      {"slot": number, "contents": [hex, ...]}: the first of these heads of a
                              slot that is complete -> events: fetching*, fetched {"paths"}
    POST /v1/condemned       {"content": hex, "author": PeerID, "reason": text}: a head or resume
                              state that proved worthless when it was used -> {"condemned": bool};
                              without "author", false where several name that content
    POST /v1/jobs            {"kind": "training", ...TrainingRequest} -> {"id"}, at once
    GET  /v1/jobs            {"jobs": [job, ...]}: those that ended last, then those that run
    GET  /v1/jobs/ID         one job: {"id", "kind", "slot", "started", "ended", "outcome", "error",
                              "last": its newest event, "newest": the number of that}
    GET  /v1/jobs/ID/events  its events, numbered, as they come; after that with the number in
                              `Last-Event-ID` or ?after=. The last is "ended" or "error". Of
                              progress, only the newest is kept. Who leaves stops nothing
    DELETE /v1/jobs/ID       asks the job to end in good order; the job, at once

Every request carries `Authorization: Bearer TOKEN`; the Host must be loopback, so that a web page
cannot reach a peer through a name that resolves to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from paris_p2p.api.events import (
    SESSION_OPEN,
    Event,
    encode_events,
    encode_job,
    error_event,
    kept_alive,
)
from paris_p2p.api.guard import guarded
from paris_p2p.api.requests import (
    after_of,
    body_of,
    contents_of,
    patience_of,
    training_request_of,
)
from paris_p2p.errors import BadContent, Unreachable, UsageProblem
from paris_p2p.identity import author_of
from paris_p2p.peer.books.contributions import read_log, told
from paris_p2p.peer.doctor import machine_checks, machine_probes
from paris_p2p.peer.doctor.peer_checks import report
from paris_p2p.peer.doctor.peer_probes import peer_checkup, training_need
from paris_p2p.peer.jobs import Job, Jobs
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.report import heads_report, status_report
from paris_p2p.peer.run_choice import choose
from paris_p2p.peer.training.training_job import TRAINING, TrainingJob
from paris_p2p.peer.transfer.head_candidates import find_candidates
from paris_p2p.peer.transfer.obtaining import checkpoint_limit, obtain
from paris_p2p.peer.transfer.racing import GLANCE, first_complete
from paris_p2p.records.address import parse_address


class Api:
    """The API of one peer. `app` is the ASGI application; `close()` ends the running jobs."""

    def __init__(self, node: Node[Membership], token: str) -> None:
        self._node = node
        self.jobs = Jobs(node.clock)
        self._sessions = 0
        self._unused = asyncio.Event()
        self._closing = asyncio.Event()
        self.app = guarded(
            [
                Route("/v1/ping", self._ping),
                Route("/v1/session", self._session),
                Route("/v1/status", self._status),
                Route("/v1/heads", self._heads),
                Route("/v1/checkup", self._checkup),
                Route("/v1/contributions", self._contributions),
                Route("/v1/connect", self._connect, methods=["POST"]),
                Route("/v1/fetch", self._fetch, methods=["POST"]),
                Route("/v1/candidates", self._candidates, methods=["POST"]),
                Route("/v1/fetch-head", self._fetch_head, methods=["POST"]),
                Route("/v1/condemned", self._condemned, methods=["POST"]),
                Route("/v1/jobs", self._begin, methods=["POST"]),
                Route("/v1/jobs", self._all_jobs),
                Route("/v1/jobs/{id}", self._job),
                Route("/v1/jobs/{id}", self._stop, methods=["DELETE"]),
                Route("/v1/jobs/{id}/events", self._follow),
            ],
            token,
        )

    async def close(self) -> None:
        """Stop every job and wait until each has snapshotted, published and released."""
        self._closing.set()
        self.jobs.close()
        await self.jobs.ended()

    async def _ping(self, request: Request) -> Response:
        return JSONResponse({"run": self._run(request).run_id.hex()})

    def _run(self, request: Request) -> Membership:
        """The membership that ?run= names, or the only one."""
        return choose(self._node, request.query_params.get("run"))

    async def unused(self) -> None:
        """Wait until no session is open; from then on none can be opened."""
        while self._sessions:
            self._unused.clear()
            await self._unused.wait()
        self._closing.set()

    async def _session(self, request: Request) -> Response:
        return StreamingResponse(self._open_session(), media_type="text/event-stream")

    async def _open_session(self) -> AsyncIterator[str]:
        """Says that it is open and stays so; ends at once where the peer is leaving."""
        if self._closing.is_set():
            return
        self._sessions += 1
        try:
            yield f"{SESSION_OPEN}\n\n"
            await self._closing.wait()
        finally:
            self._sessions -= 1
            if not self._sessions:
                self._unused.set()

    async def _status(self, request: Request) -> Response:
        membership = self._run(request)
        jobs = [
            {**job.last, "slot": job.slot}
            for job in self.jobs.running()
            if job.slot in membership.training
        ]
        return JSONResponse({**await status_report(membership), "jobs": jobs})

    async def _heads(self, request: Request) -> Response:
        return JSONResponse(await heads_report(self._run(request)))

    async def _checkup(self, request: Request) -> Response:
        membership = self._run(request)
        rows = await peer_checkup(self._node, [membership])
        rows.append(machine_checks.files_row(machine_probes.open_files()))
        return JSONResponse(report(rows, training_need(membership.run)))

    async def _contributions(self, request: Request) -> Response:
        (author,) = contents_of({"contents": [request.query_params.get("author")]})
        node = self._node
        reading = await read_log(node.swarm, node.contributions, author, node.fetcher.pacers)
        return JSONResponse(told(reading))

    async def _connect(self, request: Request) -> Response:
        address = (await body_of(request)).get("address")
        await self._node.swarm.connect(str(parse_address(str(address))))
        return JSONResponse({"peers": self._node.swarm.peers()})

    async def _fetch(self, request: Request) -> Response:
        body = await body_of(request)
        fetched = self._fetched(self._run(request), contents_of(body), patience_of(body))
        return _stream(fetched)

    async def _fetched(
        self, membership: Membership, contents: list[bytes], patience: float | None
    ) -> AsyncIterator[Event]:
        node = self._node
        async with node.using(contents):
            for content in contents:
                most = checkpoint_limit(membership, content)
                fetching = obtain(membership, [content], most, patience)
                async with aclosing(fetching) as events:
                    async for event in events:
                        yield event
            paths = {content.hex(): str(await node.path(content)) for content in contents}
        yield {"event": "fetched", "paths": paths}

    async def _candidates(self, request: Request) -> Response:
        return _stream(find_candidates(self._run(request)))

    async def _fetch_head(self, request: Request) -> Response:
        membership, body = self._run(request), await body_of(request)
        slot = body.get("slot")
        if isinstance(slot, bool) or slot not in membership.run.slots():
            raise BadContent("slot is none of this run", "send the number of one that it has")
        return _stream(self._fetched_head(membership, int(slot), contents_of(body)))

    async def _fetched_head(
        self, membership: Membership, slot: int, contents: list[bytes]
    ) -> AsyncIterator[Event]:
        most = membership.run.checkpoint_limit(slot)

        def fetch(content: bytes) -> AsyncGenerator[Event]:
            return obtain(membership, [content], most, GLANCE)

        async with self._node.using(contents):
            async with aclosing(first_complete(fetch, contents)) as events:
                async for event in events:
                    if event["event"] == "complete":
                        content = event["content"]
                    else:
                        yield event
            path = await self._node.path(bytes.fromhex(content))
        yield {"event": "fetched", "paths": {content: str(path)}}

    async def _condemned(self, request: Request) -> Response:
        """Where records contradict each other, their authors are to blame, not the content."""
        membership, body = self._run(request), await body_of(request)
        (content,) = contents_of({"contents": [body.get("content")]})
        reason = body.get("reason")
        if not isinstance(reason, str):
            raise BadContent("reason is not text", "say why the content is worthless")
        records = membership.naming(content)
        if "author" in body:
            author = author_of(str(body["author"]))
            records = [record for record in records if record.author == author]
        if len({record.author for record in records}) != 1:
            return JSONResponse({"condemned": False})
        for record in records:
            if not await membership.condemn(record, reason):
                return JSONResponse({"condemned": False})
        return JSONResponse({"condemned": True})

    async def _begin(self, request: Request) -> Response:
        if self._closing.is_set():
            raise Unreachable("the peer of this home is leaving", "Run the command again")
        body = await body_of(request)
        kind = body.pop("kind", None)
        if kind != TRAINING:
            raise BadContent("kind is none of a job", f'send "{TRAINING}"')
        return JSONResponse({"id": self._begin_training(self._run(request), body).id})

    def _begin_training(self, membership: Membership, body: dict[str, Any]) -> Job:
        if self._node.config.seed_only:
            raise UsageProblem(
                "this peer is a seed: it stores and serves, and never trains",
                "start it without seed_only to train here",
            )
        return self.jobs.begin(TRAINING, TrainingJob(membership, training_request_of(body)))

    async def _all_jobs(self, request: Request) -> Response:
        return JSONResponse({"jobs": [_job_row(job) for job in self.jobs.all()]})

    async def _job(self, request: Request) -> Response:
        return JSONResponse(_job_row(self._named(request)))

    async def _follow(self, request: Request) -> Response:
        events = self._named(request).follow(after_of(request))
        return StreamingResponse(kept_alive(encode_job(events)), media_type="text/event-stream")

    async def _stop(self, request: Request) -> Response:
        job = self._named(request)
        job.stop()
        return JSONResponse(_job_row(job))

    def _named(self, request: Request) -> Job:
        return self.jobs.named(request.path_params["id"])


def _job_row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "slot": job.slot,
        "started": job.started,
        "ended": job.ended,
        "outcome": job.outcome,
        "error": error_event(job.error) if job.error else None,
        "last": job.last,
        "newest": job.newest,
    }


def _stream(events: AsyncIterator[Event]) -> Response:
    return StreamingResponse(encode_events(events), media_type="text/event-stream")

"""The routes of a peer's local API.

    GET  /v1/ping            {"runs": [{"id", "name"}, ...]} when the peer is up
    GET  /v1/session         stays open; while one is, a peer started for a command stays up
    GET  /v1/runs            {"runs": [...]}: the runs that it takes part in, see `report.run_row`
    POST /v1/runs            {"run": hex}: take part in one more, after every start too; its row
    DELETE /v1/runs/ID       leave it, and let go at once what only it needed -> {"left": hex}
    GET  /v1/status          {"peer", "runs": [...], "warnings", "refused"}: the peer, and of each
                              run (?run=: of one) its slots, peers, contents and jobs
    GET  /v1/heads           the best heads of every slot, best first, after a DHT lookup
    GET  /v1/checkup         {"rows": [{"check", "state", "seen", "remedy"}, ...],
                              "training_bytes": least memory to train an expert of the run}
    GET  /v1/contributions   ?author=hex -> that author's contribution log, checked
    POST /v1/connect         {"address": multiaddr}: meet one more peer
    POST /v1/fetch           {"contents": [hex, ...], "patience": seconds without a byte, or null}
                              -> events: fetching*, fetched {"paths"}
    POST /v1/jobs            {"kind": "training", ...TrainingRequest}, or
                              {"kind": "sampling", ...SampleRequest}, or
                              {"kind": "export", "folder": path of a new one}, or
                              {"kind": "import", "folder": path, "name": text or null}
                              -> {"id"}, at once
    GET  /v1/jobs            {"jobs": [job, ...]}: those that ended last, then the running ones
    GET  /v1/jobs/ID         one job: {"id", "kind", "run", "slot", "started", "ended", "outcome",
                              "error", "last": its newest event, "newest": that event's number}
    GET  /v1/jobs/ID/events  its events, numbered, as they come, after the number in
                              `Last-Event-ID` or ?after=. The last is "ended" or "error". Of
                              progress, only the newest is kept. Leaving does not stop the job
    GET  /v1/jobs/ID/picture the PNG that a sampling job drew, while the peer keeps it
    DELETE /v1/jobs/ID       asks the job to end in good order; the job, at once

Where a peer takes part in several runs, heads, fetch, jobs and checkup are asked with ?run=, which
is an id, the beginning of one, or a name.

Every request carries `Authorization: Bearer TOKEN`; the Host must be loopback, so that a web page
cannot reach a peer through a name that resolves to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from paris_p2p.api.events import (
    SESSION_OPEN,
    Event,
    encode_events,
    encode_job,
    kept_alive,
)
from paris_p2p.api.guard import guarded
from paris_p2p.api.requests import (
    after_of,
    body_of,
    contents_of,
    folder_of,
    name_of,
    patience_of,
    training_request_of,
)
from paris_p2p.config import run_id_of
from paris_p2p.errors import BadContent, Unreachable, UsageProblem, error_event
from paris_p2p.peer.books.contributions import read_log, told
from paris_p2p.peer.doctor import machine_checks, machine_probes
from paris_p2p.peer.doctor.peer_checks import report
from paris_p2p.peer.doctor.peer_probes import peer_checkup, training_need
from paris_p2p.peer.jobs import Job, Jobs
from paris_p2p.peer.joining import join_for_good, leave_for_good
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.pipeline.export_job import EXPORT, ExportJob
from paris_p2p.peer.pipeline.import_job import IMPORT, NO_RUN, ImportJob
from paris_p2p.peer.report import heads_report, run_row, status_report
from paris_p2p.peer.run_choice import choose
from paris_p2p.peer.sampling.picture_cache import PictureCache
from paris_p2p.peer.sampling.sampling_job import SAMPLING, SamplingJob
from paris_p2p.peer.sampling.worker_handle import Sampler
from paris_p2p.peer.training.training_job import TRAINING, TrainingJob
from paris_p2p.peer.transfer.obtaining import checkpoint_limit, obtain
from paris_p2p.records.address import parse_address
from paris_p2p.sampling.request import SampleRequest


class Api:
    """The API of one peer. `app` is the ASGI application; `close()` ends the running jobs."""

    def __init__(self, node: Node[Membership], token: str) -> None:
        self._node = node
        self.jobs = Jobs(node.clock)
        self._sampler = Sampler(node.home.log_file)
        self._sessions = 0
        self._unused = asyncio.Event()
        self._closing = asyncio.Event()
        self.app = guarded(
            [
                Route("/v1/ping", self._ping),
                Route("/v1/session", self._session),
                Route("/v1/runs", self._runs),
                Route("/v1/runs", self._join, methods=["POST"]),
                Route("/v1/runs/{id}", self._leave, methods=["DELETE"]),
                Route("/v1/status", self._status),
                Route("/v1/heads", self._heads),
                Route("/v1/checkup", self._checkup),
                Route("/v1/contributions", self._contributions),
                Route("/v1/connect", self._connect, methods=["POST"]),
                Route("/v1/fetch", self._fetch, methods=["POST"]),
                Route("/v1/jobs", self._begin, methods=["POST"]),
                Route("/v1/jobs", self._all_jobs),
                Route("/v1/jobs/{id}", self._job),
                Route("/v1/jobs/{id}", self._stop, methods=["DELETE"]),
                Route("/v1/jobs/{id}/events", self._follow),
                Route("/v1/jobs/{id}/picture", self._picture),
            ],
            token,
        )

    async def close(self) -> None:
        """Stop every job and wait until each has snapshotted, published and released."""
        self._closing.set()
        self.jobs.close()
        await self.jobs.ended()
        await self._sampler.close()

    async def _ping(self, request: Request) -> Response:
        """With ?run=, also whether that is one of them."""
        if request.query_params.get("run"):
            self._run(request)
        runs = [{"id": one.run_id.hex(), "name": one.run.name} for one in self._all_runs()]
        return JSONResponse({"runs": runs})

    async def _runs(self, request: Request) -> Response:
        rows = await asyncio.gather(*map(run_row, self._all_runs()))
        return JSONResponse({"runs": rows})

    async def _join(self, request: Request) -> Response:
        run_id = run_id_of((await body_of(request)).get("run"))
        return JSONResponse(await run_row(await join_for_good(self._node, run_id)))

    async def _leave(self, request: Request) -> Response:
        membership = choose(self._node, request.path_params["id"])
        await leave_for_good(membership)
        return JSONResponse({"left": membership.run_id.hex()})

    def _all_runs(self) -> list[Membership]:
        return list(self._node.memberships.values())

    def _chosen(self, request: Request) -> list[Membership]:
        """The membership that ?run= names, or all."""
        return [self._run(request)] if request.query_params.get("run") else self._all_runs()

    def _run(self, request: Request) -> Membership:
        """The membership that ?run= names, or the only one."""
        return choose(self._node, request.query_params.get("run"))

    async def unused(self) -> None:
        """Wait until no session is open; after that none can be opened."""
        while self._sessions:
            self._unused.clear()
            await self._unused.wait()
        self._closing.set()

    async def _session(self, request: Request) -> Response:
        return StreamingResponse(self._open_session(), media_type="text/event-stream")

    async def _open_session(self) -> AsyncIterator[str]:
        """Say that the session is open, and keep it so; end at once if the peer is leaving."""
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
        report = await status_report(self._node, self._chosen(request))
        for row in report["runs"]:
            row["jobs"] = [
                {**job.last, "slot": job.slot}
                for job in self.jobs.running()
                if job.work.run_id.hex() == row["id"] and job.slot in row["training"]
            ]
        return JSONResponse(report)

    async def _heads(self, request: Request) -> Response:
        return JSONResponse(await heads_report(self._run(request)))

    async def _checkup(self, request: Request) -> Response:
        memberships = self._chosen(request)
        rows = await peer_checkup(self._node, memberships)
        rows.append(machine_checks.files_row(machine_probes.open_files()))
        trainable = [one.run for one in memberships if one.run.shards]
        need = min(map(training_need, trainable), default=None)
        return JSONResponse(report(rows, need))

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

    async def _begin(self, request: Request) -> Response:
        if self._closing.is_set():
            raise Unreachable("the peer of this home is leaving", "Run the command again")
        body = await body_of(request)
        match body.pop("kind", None):
            case "training":
                job = await self._begin_training(self._run(request), body)
            case "sampling":
                drawing = SamplingJob(self._run(request), self._sampler, SampleRequest.of(body))
                job = self.jobs.begin(SAMPLING, drawing)
            case "export":
                export = ExportJob(self._run(request), self._sampler, folder_of(body))
                job = self.jobs.begin(EXPORT, export)
            case "import":
                reading = ImportJob(self._node, self._sampler, folder_of(body), name_of(body))
                job = self.jobs.begin(IMPORT, reading)
            case _:
                kinds = ", ".join((TRAINING, SAMPLING, EXPORT, IMPORT))
                raise BadContent("kind is not a kind of job", f"send one of {kinds}")
        return JSONResponse({"id": job.id})

    async def _begin_training(self, membership: Membership, body: dict[str, Any]) -> Job:
        """Begin training, after freeing the memory of the networks kept for sampling."""
        if self._node.config.seed_only:
            raise UsageProblem(
                "this peer is a seed: it stores and serves, and never trains",
                "start it without seed_only to train here",
            )
        job = TrainingJob(membership, training_request_of(body))
        await self._sampler.give_way()
        return self.jobs.begin(TRAINING, job)

    async def _all_jobs(self, request: Request) -> Response:
        chosen = {NO_RUN, *(one.run_id for one in self._chosen(request))}
        jobs = [job for job in self.jobs.all() if job.work.run_id in chosen]
        return JSONResponse({"jobs": [_job_row(job) for job in jobs]})

    async def _job(self, request: Request) -> Response:
        return JSONResponse(_job_row(self._named(request)))

    async def _follow(self, request: Request) -> Response:
        events = self._named(request).follow(after_of(request))
        return StreamingResponse(kept_alive(encode_job(events)), media_type="text/event-stream")

    async def _picture(self, request: Request) -> Response:
        picture = PictureCache.of(self._node.home).find(self._named(request).id)
        return FileResponse(picture, media_type="image/png")

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
        "run": job.work.run_id.hex(),
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

"""A request to export a run, from the queue to the finished folder."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from paris_p2p.files import check_new_folder
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.sampling.process_job import Event, ProcessJob, ensemble_work
from paris_p2p.peer.sampling.worker_handle import Sampler, SamplingProcess, Senseless

EXPORT: Final = "export"
"""The kind of export jobs."""


class ExportJob(ProcessJob):
    """One export. Events: looking, fetching, loading, exporting, warning; exported.

    "exported" has the "folder", and the "experts" that are in it. UsageProblem where no new folder
    can be made at `folder`.
    """

    def __init__(self, membership: Membership, sampler: Sampler, folder: Path) -> None:
        super().__init__(membership.node, sampler, membership.run_id)
        self._membership = membership
        self._folder = folder
        check_new_folder(folder)

    async def work(self, process: SamplingProcess) -> AsyncGenerator[Event]:
        job = {"id": self.id, "kind": EXPORT, "folder": str(self._folder)}
        async with aclosing(ensemble_work(self._membership, process, job, "exported")) as events:
            async for event in events:
                if event["event"] == "exported":
                    experts = _experts(event, self._membership.run.clusters)
                    event = {"event": "exported", "folder": str(self._folder), "experts": experts}
                yield event


def _experts(message: Event, clusters: int) -> list[int]:
    """The experts in the folder, as the process reports them. Senseless if malformed."""
    experts = message.get("experts")
    if not isinstance(experts, list) or not all(expert in range(clusters) for expert in experts):
        raise Senseless("its message is malformed")
    return experts

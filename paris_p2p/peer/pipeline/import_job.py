"""A request to import a folder as a run, from the queue to the joined run."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from paris_p2p.errors import UsageProblem
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.pipeline.imported_run import Findings, report, take_in
from paris_p2p.peer.sampling.process_job import Event, ProcessJob, told
from paris_p2p.peer.sampling.worker_handle import Sampler, SamplingProcess, Senseless
from paris_p2p.records.run import check_name

IMPORT: Final = "import"
"""The kind of import jobs."""

NO_RUN: Final = b""
"""The run of an import that has none yet."""


class ImportJob(ProcessJob):
    """One import. Events: loading, importing, warning; imported.

    "imported" has the "run" (its id), its "name", its number of "clusters", and the "experts" that
    were there. UsageProblem where `folder` is no folder, BadContent for a name that no run has.

    name : the run's name; None for the one in the folder.
    """

    def __init__(
        self, node: Node[Membership], sampler: Sampler, folder: Path, name: str | None
    ) -> None:
        super().__init__(node, sampler, NO_RUN)
        self._node = node
        self._folder = folder
        self._name = name
        if name is not None:
            check_name(name)
        if not folder.is_absolute() or not folder.is_dir():
            raise UsageProblem(f"there is no folder {folder}", "give the path of a pipeline folder")

    async def work(self, process: SamplingProcess) -> AsyncGenerator[Event]:
        out = self._node.home.import_dir
        await asyncio.to_thread(_empty, out)
        try:
            await process.begin(
                {"id": self.id, "kind": IMPORT, "folder": str(self._folder), "out": str(out)}
            )
            while True:
                message = await process.hear()
                if "ask" in message:
                    raise Senseless("it asked a question about a folder")
                event = told(message, "imported")
                if event["event"] == "imported":
                    break
                yield event
            findings = Findings.of(event.get("run"))
            membership = await take_in(self._node, out, findings, self._name)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        self.run_id = membership.run_id
        yield {"event": "imported", **report(membership, findings)}


def _empty(folder: Path) -> None:
    """Make `folder` anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)

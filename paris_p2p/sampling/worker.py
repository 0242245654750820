"""The sampling process: jobs in, events and questions out, one JSON object a line; no network.

    python -m paris_p2p.sampling.worker

Its parent writes

    {"job": {"id", "kind", ...}}                                one at a time; of the kind
        "sampling" : "sealed_run", "heads", "request", "file"
        "export"   : "sealed_run", "heads", "folder" to make
        "import"   : "folder" to read, "out": the folder for the contents made of it
    {"answer": {...}}                                           to a question
    {"stop": id}                                                to stop that job

and it writes

    {"event": "loading"}, {"event": "sampling", "step", "steps", "steps_per_second"},
    {"event": "exporting", "part", "parts"}, {"event": "importing", "part", "parts"},
    {"event": "warning", "text"}
    {"ask": "fetch", "content"}                                 -> {"path"}
    {"ask": "fetch-head", "slot", "contents"}                   -> {"content", "path"}
    {"ask": "heads", "slot"}                                    -> {"heads"}
    {"ask": "condemn", "head", "reason"}                        -> {"condemned"}
    {"event": "sampled", "images"}, {"event": "exported", "experts"}, {"event": "imported", "run"}
    or {"event": "error", ...}                                  the end of a job

An answer may be {"error": {...}} instead. The end of standard input (the parent is gone, or needs
the memory) ends the process at once: it has nothing to save.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from paris_p2p.errors import Interrupted, ParisError, error_from
from paris_p2p.files import write_atomically
from paris_p2p.sampling.contents import HeadRow
from paris_p2p.sampling.request import SampleRequest
from paris_p2p.training.offline import forbid_network

if TYPE_CHECKING:
    from paris_p2p.sampling.ensemble import Ensemble
    from paris_p2p.sampling.networks import Networks

log = logging.getLogger(__name__)

Message = dict[str, Any]
Outcome = tuple[str, Message]
"""The name of a job's last event, and what it tells."""


def main() -> None:
    """Do jobs until standard input ends. torch is imported before the first one arrives."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    forbid_network()
    parent = Parent(sys.stdin.buffer, _words())
    logging.getLogger("paris_p2p").addHandler(Warnings(parent))
    from paris_p2p.sampling.networks import Networks, machine_share

    networks = Networks(machine_share())
    while True:
        _do(parent.next_job(), parent, networks)


def _words() -> IO[str]:
    """Standard output, for our lines alone; output of libraries goes to standard error."""
    ours = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return ours


class Parent:
    """The peer at the other end of our standard streams."""

    def __init__(self, lines: IO[bytes], words: IO[str]) -> None:
        self._words = words
        self._jobs: SimpleQueue[Message] = SimpleQueue()
        self._answers: SimpleQueue[Message] = SimpleQueue()
        self._unwanted = ""
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()

    def next_job(self) -> Message:
        return self._jobs.get()

    def tell(self, event: str, **details: Any) -> None:
        self._say({"event": event, **details})

    def ask(self, what: str, **details: Any) -> Message:
        """The answer to a question. Raises the error in it."""
        self._say({"ask": what, **details})
        answer = self._answers.get()
        if "error" in answer:
            raise error_from(answer["error"])
        return answer

    def check_wanted(self, job: str) -> None:
        """Raise Interrupted if the parent has stopped a job."""
        if self._unwanted == job:
            raise Interrupted("the drawing was stopped")

    def _say(self, message: Message) -> None:
        print(json.dumps(message, allow_nan=False), file=self._words, flush=True)

    def _listen(self, lines: IO[bytes]) -> None:
        for line in lines:
            message = json.loads(line)
            if "job" in message:
                self._jobs.put(message["job"])
            elif "stop" in message:
                self._unwanted = message["stop"]
            else:
                self._answers.put(message["answer"])
        os._exit(0)


class Warnings(logging.Handler):
    """Sends warnings to the parent, for the user who asked for the picture."""

    def __init__(self, parent: Parent) -> None:
        super().__init__(logging.WARNING)
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self._parent.tell("warning", text=record.getMessage())


class ParentContents:
    """Content through the peer; see `contents.Contents`."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def fetch(self, content: str) -> Path:
        return Path(self._parent.ask("fetch", content=content)["path"])

    def fetch_head(self, slot: int, contents: Sequence[str]) -> tuple[str, Path]:
        answer = self._parent.ask("fetch-head", slot=slot, contents=list(contents))
        return answer["content"], Path(answer["path"])

    def heads(self, slot: int) -> Sequence[HeadRow]:
        rows: Sequence[HeadRow] = self._parent.ask("heads", slot=slot)["heads"]
        return rows

    def condemn(self, head: HeadRow, reason: str) -> bool:
        return bool(self._parent.ask("condemn", head=dict(head), reason=reason)["condemned"])


def _do(job: Message, parent: Parent, networks: Networks) -> None:
    """Do one job. Its last line tells how it ended."""
    do = {"sampling": _draw, "export": _export, "import": _import}[job["kind"]]
    try:
        event, told = do(job, parent, networks)
    except ParisError as error:
        _tell_error(parent, error)
    except Exception as error:
        log.exception("the job failed")
        networks.clear()
        _tell_error(parent, _told(error))
    else:
        parent.tell(event, **told)


def _draw(job: Message, parent: Parent, networks: Networks) -> Outcome:
    """Draw a job's pictures into its file. Tells each image's provenance."""
    ensemble = _ensemble(job, parent, networks)
    from paris_p2p.sampling.pictures import png_of

    request = SampleRequest.of(job["request"])
    began = time.monotonic()

    def on_step(done: int, total: int) -> None:
        parent.check_wanted(job["id"])
        pace = done / max(time.monotonic() - began, 1e-6)
        parent.tell("sampling", step=done, steps=total, steps_per_second=round(pace, 2))

    pictures = ensemble.sample(request, on_step)
    write_atomically(Path(job["file"]), png_of(pictures, request.scale))
    return "sampled", {"images": [picture.provenance for picture in pictures]}


def _export(job: Message, parent: Parent, networks: Networks) -> Outcome:
    """Write the run as a job's folder. Tells which experts are in it."""
    ensemble = _ensemble(job, parent, networks)
    from paris_p2p.sampling.exporting import export

    experts = export(ensemble, Path(job["folder"]), _on_part(job, parent, "exporting"))
    return "exported", {"experts": experts}


def _import(job: Message, parent: Parent, networks: Networks) -> Outcome:
    """Read a job's folder into the contents of a run. Tells what the run's manifest needs."""
    parent.tell("loading")
    from paris_p2p.pipeline.reading import read_folder

    on_part = _on_part(job, parent, "importing")
    return "imported", {"run": read_folder(Path(job["folder"]), Path(job["out"]), on_part)}


def _ensemble(job: Message, parent: Parent, networks: Networks) -> Ensemble:
    """The ensemble of a job's run."""
    parent.tell("loading")
    from paris_p2p.sampling.ensemble import Ensemble

    sealed_run = bytes.fromhex(job["sealed_run"])
    return Ensemble(sealed_run, job["heads"], ParentContents(parent), networks)


def _on_part(job: Message, parent: Parent, event: str) -> Callable[[int, int], None]:
    def on_part(done: int, total: int) -> None:
        parent.check_wanted(job["id"])
        parent.tell(event, part=done, parts=total)

    return on_part


def _told(error: Exception) -> ParisError:
    """The error to report for an unexpected one."""
    from paris_p2p.model.out_of_memory import out_of_memory

    if out_of_memory(error):
        return ParisError(
            "this machine has too little free memory",
            "Ask for fewer images at once, or close other programs",
        )
    return ParisError(f"the sampling process failed: {error!r}", "The peer's log says where")


def _tell_error(parent: Parent, error: ParisError) -> None:
    parent.tell("error", message=error.message, remedy=error.remedy, exit_code=error.exit_code)


if __name__ == "__main__":
    main()

"""The whole story on one machine, with real processes: `make demo`.

A bootstrap and four peers form a swarm around the shipped emoji run. The peers take over published
experts, train them a little further and publish. One peer is killed, and another takes over its
expert. The bootstrap is switched off. A newcomer that knows one peer's address fetches everything
it needs from the others and samples eight prompts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paris_p2p.cli.terminal import complain, printable, wide_console
from peers.local_swarm import LocalSwarm, Process, SwarmProblem, local_swarm, wait_until

PEERS = ("ada", "bela", "chen", "dora")
VICTIM = "dora"
NEWCOMER = "eve"
PROMPTS = (
    "grinning face, noto style",
    "deciduous tree, noto style",
    "cat face, flat style",
    "thumbs up, 3d style",
    "four leaf clover, 3d style",
    "blue heart, noto style",
    "baby chick, twemoji style",
    "cookie, 3d style",
)
SAMPLING = ("--strategy", "full", "--seed", "2")


@dataclass
class Story:
    """The running demo: its swarm, its clock, and who trained what."""

    swarm: LocalSwarm
    minutes: float
    console: Console
    began: float = field(default_factory=time.monotonic)
    published: list[dict[str, Any]] = field(default_factory=list)
    moved: dict[str, dict[str, Any]] = field(default_factory=dict)

    def tell(self, line: str) -> None:
        seconds = time.monotonic() - self.began
        self.console.print(f"[dim]{seconds:5.0f} s[/dim]  {line}", highlight=False, soft_wrap=True)

    def gather(self) -> str:
        """Start the bootstrap and the peers; returns the address they join through."""
        self.swarm.start("bootstrap", (), "--seed-shipped-run")
        door = self.swarm.address("bootstrap")
        self.tell(f"bootstrap up at {door}")
        for name in PEERS:
            self.swarm.start(name, [door])
            self.tell(f"{name} joined")
        return door

    def train(self) -> None:
        """All four peers take over an expert. One is killed in training, and another replaces
        it."""
        jobs = {name: self._claim(name, "--minutes", str(self.minutes)) for name in PEERS}
        slots = {name: self._begun(job, name) for name, job in jobs.items()}
        self._watch(jobs[VICTIM], slots[VICTIM])
        self.note(VICTIM)
        self.swarm.kill(VICTIM)
        self.tell(f"[red]{VICTIM} was killed outright (kill -9) while training[/red]")
        for name in PEERS:
            if name != VICTIM:
                self._ended(name, jobs[name])
        self._take_over(slots[VICTIM])

    def replicated(self) -> None:
        """Stop the bootstrap once at least two living peers hold every content."""

        def spread() -> bool:
            reports = [self.swarm.run_status(name) for name in self._living()]
            holders = Counter(
                content["content"]
                for report in reports
                for content in report["contents"]
                if content["held"]
            )
            return all(holders[c["content"]] >= 2 for r in reports for c in r["contents"])

        wait_until(spread, "every content at two of the living peers", 240)
        self.tell("every head, shard and encoder is held by at least two of the living peers")
        self.note("bootstrap")
        self.swarm.stop("bootstrap")
        self.tell("[red]the bootstrap is switched off[/red]")

    def sample(self, output: Path) -> dict[str, Any]:
        """A newcomer that knows one peer's address fetches and samples."""
        door = self.swarm.address(PEERS[0])
        self.tell(f"{NEWCOMER}, a newcomer, knows {PEERS[0]}'s address and nothing else")
        self.swarm.start(NEWCOMER, [door])
        command = self.swarm.run(
            NEWCOMER, "fetch-and-sample", *PROMPTS, *SAMPLING, "-o", str(output)
        )
        wait_until(lambda: command.popen.poll() is not None, "the pictures", 300)
        sampled = command.finish()[-1]
        self.tell(f"{NEWCOMER} drew {len(PROMPTS)} prompts")
        return sampled

    def _living(self) -> list[str]:
        return [name for name in PEERS if name in self.swarm.peers]

    def note(self, name: str) -> None:
        """Record how many bytes a peer has moved, before it stops or at the end."""
        self.moved[name] = self.swarm.status(name)["peer"]

    def _claim(self, name: str, *options: str) -> Process:
        return self.swarm.run(name, "claim-expert", "--threads", "1", *options)

    def _begun(self, job: Process, name: str) -> str:
        resumed = job.first("resuming", 120)
        slot = str(job.first("claimed")["name"])
        self.tell(f"{name} took over {slot} from its {resumed['from']} at step {resumed['step']}")
        return slot

    def _watch(self, victim: Process, slot: str) -> None:
        """Show training until the victim has made real steps."""

        def stepped() -> bool:
            progress = victim.last("progress")
            return progress is not None and progress["seconds"] > 20

        wait_until(stepped, f"steps of {slot}", 180)

    def _ended(self, name: str, job: Process) -> None:
        job.finish()
        head = job.last("published")
        if head is None:
            raise SwarmProblem(f"{name} published nothing")
        seconds = (job.last("progress") or {}).get("seconds", 0)
        self.published.append({**head, "peer": name, "seconds": seconds})
        self.tell(
            f"{name} published {head['name']} step {head['step']}, "
            f"held-out loss {head['held_out_loss']:.4f}"
        )

    def _take_over(self, slot: str) -> None:
        """Another peer claims the dead peer's expert once its lease has lapsed."""
        number = slot.removeprefix("expert ")
        heir = PEERS[0]

        def free() -> bool:
            slots = self.swarm.run_status(heir)["slots"]
            return all(row["claim"] is None for row in slots if row["name"] == slot)

        wait_until(free, f"the lease on {slot} to lapse", 150)
        job = self._claim(heir, "--expert", number, "--minutes", str(self.minutes / 3))
        self._begun(job, heir)
        self._ended(heir, job)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("--minutes", type=float, default=1.5, help="of training for each peer")
    options.add_argument("-o", "--output", type=Path, default=Path("demo-output/pictures.png"))
    chosen = options.parse_args()
    console = wide_console()
    folder = Path(tempfile.mkdtemp(prefix="paris-demo-"))
    try:
        with local_swarm(folder) as swarm:
            story = Story(swarm, chosen.minutes, console)
            _play(story, chosen.output.absolute())
    except SwarmProblem as problem:
        complain(f"error: {problem} (logs kept in {folder})")
        sys.exit(1)
    shutil.rmtree(folder)


def _play(story: Story, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    story.gather()
    story.train()
    story.replicated()
    sampled = story.sample(output)
    for name in story.swarm.peers:
        story.note(name)
    story.console.print(_table(story.published, story.moved))
    lost = max(image["lost_mass"] for image in sampled["images"])
    story.tell(f"probability mass lost to missing experts: {lost:.1%}")
    story.tell(f"[bold]the picture: {escape(printable(str(output)))}[/bold]")


def _table(published: list[dict[str, Any]], moved: dict[str, dict[str, Any]]) -> Table:
    table = Table("peer", "trained", "to step", "held-out loss", "seconds", "sent", "received")
    for name, peer in moved.items():
        work = [row for row in published if row["peer"] == name]
        table.add_row(
            name,
            ", ".join(row["name"] for row in work),
            ", ".join(str(row["step"]) for row in work),
            ", ".join(f"{row['held_out_loss']:.4f}" for row in work),
            ", ".join(f"{row['seconds']:.0f}" for row in work),
            f"{peer['sent_bytes'] / 1e6:.1f} MB",
            f"{peer['received_bytes'] / 1e6:.1f} MB",
        )
    return table


if __name__ == "__main__":
    main()

"""The swarm under test: real peers behind gates, one door, volunteers that train unattended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from paris_p2p.errors import BadContent
from paris_p2p.home import Home
from paris_p2p.identity import author_of
from paris_p2p.records.claim import LEASE
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import Manifest
from paris_p2p.records.run import slot_name
from peers.local_swarm import LocalSwarm, local_swarm, wait_until
from tests.chaos.enemy import Attack, Enemy
from tests.chaos.gates import Gates
from tests.chaos.small_run import publish_router, seed_small_run

DOOR = "door"
DUTY_CYCLE = "10%"
"""Steps of the small run take milliseconds. Trainers without a rest would keep every core busy."""
PUBLISH_EVERY = 20
"""Steps between two checkpoints: seconds, at that pace."""
SMALL_DISK = "v0"
"""Whose home is on a small file system of its own."""
FILLER = "filler"
LOG_TOLD = 4000
"""Characters of a newcomer's log that are told where its picture lacks something."""
HELD_AGAIN = 2 * LEASE
"""Seconds within which every expert must be held again."""
PATIENCE = HELD_AGAIN + 60
"""What a loaded machine may add to that before a wait is given up."""

Report = dict[str, Any]


class Arena:
    """A small run, a peer that seeds it, and `volunteers` that claim and train by themselves."""

    def __init__(self, swarm: LocalSwarm, gates: Gates, sockets: Path, volunteers: int) -> None:
        self.swarm = swarm
        self.gates = gates
        self.sockets = sockets
        self.volunteers = [f"v{number}" for number in range(volunteers)]
        door = Home(swarm.home(DOOR))
        run_id = seed_small_run(door, time.time(), publish_every=PUBLISH_EVERY)
        publish_router(door, run_id)
        self.run_id = run_id.hex()
        self._places = {name: self._place(name) for name in (DOOR, *self.volunteers)}
        self._frozen: set[str] = set()
        self._authors: set[bytes] = set()
        self._seen: Counter[int] = Counter()
        self._enemies: list[Enemy] = []

    def begin(self) -> None:
        """Everybody up, every expert held, and a head of every slot at two peers."""
        self._give_a_small_disk(SMALL_DISK)
        self.start(DOOR)
        for name in self.volunteers:
            self.start(name)
        self.until_held("every expert to be held at first")
        wait_until(self._all_copied, "two peers to hold a head of every slot", PATIENCE)
        self.begun_anew([])

    # Doing

    def start(self, name: str) -> None:
        """Start a peer, or start it again, on its home and its address."""
        host, port, gate = self._places[name]
        door_host, _, door_gate = self._places[DOOR]
        join = [] if name == DOOR else [f"/ip4/{door_host}/tcp/{door_gate}/p2p/{self._door_id}"]
        process = self.swarm.start(
            name,
            join if self.alive(DOOR) else [],
            "--run",
            self.run_id,
            "--listen",
            host,
            "--port",
            str(port),
            "--announce",
            f"/ip4/{host}/tcp/{gate}",
            *(() if name == DOOR else ("--train", "--duty-cycle", DUTY_CYCLE)),
        )
        peer_id = process.first("ready")["peer"]
        self._authors.add(author_of(peer_id))
        if name == DOOR:
            self._door_id = peer_id

    def kill(self, *names: str) -> None:
        """kill -9 for peers with their trainers and p2pds, all at once."""
        for name in names:
            self.swarm.kill(name)

    def children(self, name: str, word: str) -> list[psutil.Process]:
        """The processes of a peer whose command line has `word` in it: p2pd, or its trainer."""
        peer = psutil.Process(self.swarm.peers[name].popen.pid)
        return [child for child in peer.children(recursive=True) if _says(child, word)]

    def freeze(self, name: str) -> None:
        self._frozen.add(name)
        self._signal_all(name, signal.SIGSTOP)

    def part(self, *sides: Collection[str]) -> None:
        self.gates.part(*({self._places[name][0] for name in side} for side in sides))

    def set_upon(self, attack: Attack) -> None:
        """Let an enemy attack everybody, until `restore`."""
        victims = [self.swarm.address(name) for name in self.living()]
        self._enemies.append(Enemy(attack, victims, bytes.fromhex(self.run_id)))

    def api_ports(self) -> list[int]:
        """Where the living peers' local APIs listen."""
        cards = [
            json.loads(Home(self.swarm.home(name)).api_file.read_text()) for name in self.living()
        ]
        return [int(card["url"].rpartition(":")[2]) for card in cards]

    def restore(self) -> None:
        """Everybody up again, nobody attacked."""
        while self._enemies:
            self._enemies.pop().stop()
        while self._frozen:
            self._signal_all(self._frozen.pop(), signal.SIGCONT)
        self.gates.heal()
        self.swarm.home(SMALL_DISK).joinpath(FILLER).unlink(missing_ok=True)
        for name in self._places:
            if not self.alive(name):
                self.start(name)

    # Looking

    def alive(self, name: str) -> bool:
        """Neither killed nor frozen."""
        return name in self.swarm.peers and name not in self._frozen

    def living(self) -> list[str]:
        return [name for name in (DOOR, *self.volunteers) if self.alive(name)]

    def status(self, name: str) -> Report:
        return self.swarm.run_status(name)

    def holders(self) -> dict[int, str]:
        """Who trains each expert, told by its own peer: no second-hand news."""
        return {
            row["slot"]: name
            for name in self.living()
            for row in self.status(name)["slots"]
            if row["slot"] >= 0 and row["claim"] and row["claim"]["mine"]
        }

    def until_held(self, what: str) -> float:
        """Wait until every expert is held by a living peer; the seconds it took."""
        began = time.monotonic()
        wanted = {row["slot"] for row in self.status(self.living()[0])["slots"] if row["slot"] >= 0}
        wait_until(lambda: set(self.holders()) == wanted, what, PATIENCE)
        return time.monotonic() - began

    def heads(self) -> dict[int, int]:
        """The furthest step of every slot that one of the swarm's own peers published, and that a
        living peer holds whole."""
        furthest: dict[int, int] = {}
        for name in self.living():
            for head in self._heads_in(Home(self.swarm.home(name))):
                furthest[head.expert] = max(head.step, furthest.get(head.expert, 0))
        return furthest

    def _heads_in(self, home: Home) -> Iterator[Head]:
        """Its peers' heads in one home that are there with all they name, read beside its peer."""
        for file in home.runs_dir.glob(f"*/heads/*.{Head.KIND}*"):
            with suppress(OSError, BadContent):
                head = Head.unseal(file.read_bytes())
                if head.author in self._authors and _is_whole(home, head.manifest):
                    yield head

    def begun_anew(self, slots: Collection[int]) -> list[str]:
        """Who began one of these slots from scratch since the last call."""
        begun = []
        for name in self.living():
            process = self.swarm.peers[name]
            seen, self._seen[process.popen.pid] = self._seen[process.popen.pid], len(process.events)
            begun += [
                f"{name} began {slot_name(event['slot'])} from scratch"
                for event in process.events[seen:]
                if event.get("event") == "resuming"
                and event["from"] in ("scratch", "base")
                and event["slot"] in slots
            ]
        return begun

    def is_one(self) -> bool:
        """Whether every living peer knows of every other: the swarm has not come apart."""
        ids = {self.swarm.peers[name].first("ready")["peer"] for name in self.living()}
        return all(
            ids <= {row["id"] for row in self.status(name)["peers"]} for name in self.living()
        )

    def leaked(self) -> list[str]:
        """Command lines that belong to a home whose peer is gone."""
        dead = [str(self.swarm.home(name)) for name in self._places if name not in self.swarm.peers]
        return [
            " ".join(words)[:200]
            for words in map(_words, psutil.process_iter())
            if any(home in word for home in dead for word in words)
        ]

    def sample(self, newcomer: str, folder: Path) -> Report:
        """A peer nobody knows fetches everything and draws; its provenance, and what it said."""
        from paris_p2p.sampling.pictures import read_provenance

        picture = folder / f"{newcomer}.png"
        door = self.swarm.address(self.living()[0])
        join = ("--bootstrap", door, "--run", self.run_id)
        command = self.swarm.run(
            newcomer, "fetch-and-sample", "red heart", "--steps", "2", "-o", str(picture), *join
        )
        command.finish()
        log = Home(self.swarm.home(newcomer)).log_file.read_text(errors="replace")
        shutil.rmtree(self.swarm.home(newcomer))
        return {**read_provenance(picture)[0], "said": f"{command.words()}\n{log[-LOG_TOLD:]}"}

    def _all_copied(self) -> bool:
        """Whether no slot's heads would be lost with one peer."""
        homes = (Home(self.swarm.home(name)) for name in self.living())
        held = Counter(
            slot for home in homes for slot in {head.expert for head in self._heads_in(home)}
        )
        return all(held[row["slot"]] > 1 for row in self.status(DOOR)["slots"])

    def _place(self, name: str) -> tuple[str, int, int]:
        """A peer's own loopback address, its port, and its gate's."""
        host = f"127.0.7.{1 + (DOOR, *self.volunteers).index(name)}"
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        return host, port, self.gates.add(host, port)

    def _give_a_small_disk(self, name: str) -> None:
        """A file system of its own for one home, where this user may mount one."""
        home = self.swarm.home(name)
        home.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(home)]
        done = subprocess.run(command, capture_output=True, check=False)
        self.small_disk = name if done.returncode == 0 else None

    def take_disks_away(self) -> None:
        if self.small_disk:
            subprocess.run(["umount", "-l", str(self.swarm.home(self.small_disk))], check=False)

    def _signal_all(self, name: str, number: int) -> None:
        peer = psutil.Process(self.swarm.peers[name].popen.pid)
        for process in [peer, *peer.children(recursive=True)]:
            process.send_signal(number)


@contextmanager
def arena(folder: Path, volunteers: int) -> Iterator[Arena]:
    """A swarm that has begun; with the block every process of it ends.

    Its sockets lie in a folder of their own, with a short name: a unix socket's path is limited.
    """
    sockets = Path(tempfile.mkdtemp(prefix="chaos-"))
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(sockets)
    gates = Gates()
    try:
        with local_swarm(folder) as swarm:
            made = Arena(swarm, gates, sockets, volunteers)
            try:
                made.begin()
                yield made
            finally:
                swarm.close()
                made.take_disks_away()
    finally:
        gates.close()
        shutil.rmtree(sockets, ignore_errors=True)
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def _is_whole(home: Home, content: bytes) -> bool:
    """Whether the store in `home` has a content's manifest and every chunk of it."""

    def place(chunk: bytes) -> Path:
        return home.store_dir / chunk.hex()[:2] / chunk.hex()

    manifest = Manifest.decode(place(content).read_bytes())
    return all(place(chunk).is_file() for chunk in manifest.chunks)


def _says(process: psutil.Process, word: str) -> bool:
    return any(word in part for part in _words(process))


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        words: list[str] = process.cmdline()
        return words
    return []

"""Contribution logs: on disk through crashes, between peers through lies."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent, DiskFull, NotAvailable
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_streams import PIPE_CAPACITY
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.pacing import Pacer, Pacers
from paris_p2p.network.stream_permits import NetworkOf, nowhere
from paris_p2p.network.swarm import Stream, StreamClosed
from paris_p2p.peer.books import contribution_logs, contributions
from paris_p2p.peer.books.contribution_logs import LOG_LIMIT, ContributionLogs
from paris_p2p.peer.books.contributions import (
    CONTRIBUTIONS_PROTOCOL,
    LogServer,
    announce,
    read_log,
    told,
)
from paris_p2p.peer.serving import serve
from paris_p2p.records.contribution import Contribution
from paris_p2p.records.head import Head
from tests.peer.worlds import Clock, PeerWorld, eventually

ALICE, BOB, MALLORY = (Identity(bytes([number] * 32)) for number in range(3))
RUN = bytes(32)


def head(author: Identity, step: int, parent: int | None = None) -> bytes:
    """A sealed head whose content is named after its step."""
    return Head(
        run=RUN,
        expert=1,
        author=author.author,
        step=step,
        images=2 * step,
        manifest=step.to_bytes(32, "big"),
        size=1,
        train_loss=1.0,
        held_out_loss=0.5,
        parent=None if parent is None else parent.to_bytes(32, "big"),
        created=1000.0 + step,
    ).seal(author)


def logs_in(folder: Path, *steps: int, author: Identity = ALICE) -> ContributionLogs:
    logs = ContributionLogs(folder)
    for parent, step in zip([None, *steps], steps, strict=False):
        logs.append(author, head(author, step, parent))
    return logs


def file_of(folder: Path, author: Identity = ALICE) -> Path:
    return folder / f"{author.author.hex()}.log"


def test_a_log_says_what_was_published_and_how_far_each_head_went(tmp_path: Path) -> None:
    logs = logs_in(tmp_path, 100, 250, 300)
    entries = ContributionLogs(tmp_path).entries(ALICE.author)
    assert [(e.number, e.head.step, e.gained) for e in entries] == [
        (0, 100, 100),
        (1, 250, 150),
        (2, 300, 50),
    ]
    assert logs.authors() == [ALICE.author] and logs.entries(BOB.author) == []


def test_a_foreign_file_among_the_logs_is_nobodys(tmp_path: Path) -> None:
    logs = logs_in(tmp_path, 100)
    (tmp_path / "notes.log").write_bytes(b"my own notes")
    assert logs.authors() == [ALICE.author]


def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    logs_in(tmp_path, 100)
    entry = ContributionLogs(tmp_path).append(ALICE, head(ALICE, 150, parent=100))
    assert (entry.number, entry.gained) == (1, 50)


def test_steps_beyond_another_authors_head_count(tmp_path: Path) -> None:
    others = Head.unseal(head(BOB, 400, parent=None))
    entry = ContributionLogs(tmp_path).append(ALICE, head(ALICE, 420, parent=400), [others])
    assert entry.gained == 20


def test_whatever_a_killed_process_left_of_an_entry_is_cut_off(tmp_path: Path) -> None:
    logs_in(tmp_path, 100)
    whole = file_of(tmp_path).read_bytes()
    logs_in(tmp_path, 200)
    both = file_of(tmp_path).read_bytes()
    cuts = range(len(whole), len(both), 7)
    assert len(cuts) > 10
    for length in cuts:
        file_of(tmp_path).write_bytes(both[:length])
        logs = ContributionLogs(tmp_path)
        assert len(logs.entries(ALICE.author)) == 1
        assert logs.append(ALICE, head(ALICE, 300)).number == 1
        assert [e.head.step for e in logs.entries(ALICE.author)] == [100, 300]


@pytest.mark.parametrize("left", [bytes(4), bytes(7), b"\0\0\0\5hello", b"\xff" * 9])
def test_what_a_power_cut_left_at_the_end_is_cut_off(tmp_path: Path, left: bytes) -> None:
    logs_in(tmp_path, 100)
    with file_of(tmp_path).open("ab") as file:
        file.write(left)
    assert ContributionLogs(tmp_path).append(ALICE, head(ALICE, 200)).number == 1


def test_an_entry_is_whole_however_little_the_system_writes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data[:7])))
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, bytes(data[:7]), at))
    logs = logs_in(tmp_path, 100, 200, 300)
    assert [e.head.step for e in logs.entries(ALICE.author)] == [100, 200, 300]
    assert [e.head.step for e in ContributionLogs(tmp_path).entries(ALICE.author)] == [
        100,
        200,
        300,
    ]


@pytest.mark.parametrize("before", [(), (100,)], ids=["an empty log", "a log"])
@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_log_is_as_before_when_the_disk_fills_up_within_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[int, ...], failing: str
) -> None:
    logs = logs_in(tmp_path, *before)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    room, write = [100], os.write

    def fill_up(file: int, data: memoryview) -> int:
        room[0] -= (taken := write(file, bytes(data[: room[0]])) if room[0] else 0)
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return taken

    def fail(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, failing, fill_up if failing == "write" else fail)
        with pytest.raises(DiskFull):
            logs.append(ALICE, head(ALICE, 200))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept

    assert logs.append(ALICE, head(ALICE, 300)).number == len(before)
    assert [e.head.step for e in logs.entries(ALICE.author)] == [*before, 300]


def test_a_log_that_was_tampered_with_is_not_carried_on(tmp_path: Path) -> None:
    logs_in(tmp_path, 100, 200)
    data = bytearray(file_of(tmp_path).read_bytes())
    data[100] ^= 1
    file_of(tmp_path).write_bytes(data)
    with pytest.raises(BadContent):
        ContributionLogs(tmp_path).append(ALICE, head(ALICE, 300))
    with pytest.raises(BadContent):
        ContributionLogs(tmp_path).entries(ALICE.author)


APPEND_FOR_EVER = """
import sys
from pathlib import Path
from tests.peer.books.test_contributions import ALICE, head
from paris_p2p.peer.books.contributions import ContributionLogs
logs = ContributionLogs(Path(sys.argv[1]))
step = 0
while True:
    step += 1
    logs.append(ALICE, head(ALICE, step, step - 1 or None))
    print(step, flush=True)
"""


@pytest.mark.process
def test_every_entry_that_counted_outlives_kill_9(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", APPEND_FOR_EVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    for _ in range(20):
        counted = int(process.stdout.readline())
    process.kill()
    counted = max([counted, *map(int, process.communicate()[0].split())])
    entries = ContributionLogs(tmp_path).entries(ALICE.author)
    assert [e.head.step for e in entries][:counted] == list(range(1, counted + 1))


def test_only_own_heads_enter_a_log_and_a_full_one_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = logs_in(tmp_path, 100)
    with pytest.raises(BadContent, match="published by somebody else"):
        logs.append(ALICE, head(BOB, 200))
    monkeypatch.setattr(contribution_logs, "MOST_ENTRIES", 1)
    with pytest.raises(BadContent, match="the contribution log is full"):
        logs.append(ALICE, head(ALICE, 200))
    assert len(logs.entries(ALICE.author)) == 1


class Peers:
    """Peers that do nothing but tell each other logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = MemoryNetwork(Clock())
        self.swarms: list[MemorySwarm] = []

    async def join(self, identity: Identity, *steps: int) -> tuple[MemorySwarm, ContributionLogs]:
        """A peer with a log of its own, announced."""
        swarm = self.network.join(identity.author, inactivity=1)
        if self.swarms:
            await swarm.connect(self.swarms[-1].addresses()[0])
        self.swarms.append(swarm)
        logs = logs_in(self.folder / identity.peer_id, *steps, author=identity)
        await swarm.serve(CONTRIBUTIONS_PROTOCOL, LogServer(logs))
        await self.tell(identity, swarm, logs)
        return swarm, logs

    async def tell(self, identity: Identity, swarm: MemorySwarm, logs: ContributionLogs) -> None:
        await announce(swarm, identity, RUN, logs, self.network.clock())


@pytest.fixture
async def peers(tmp_path: Path) -> Peers:
    return Peers(tmp_path)


async def test_a_log_is_fetched_checked_and_told(peers: Peers) -> None:
    await peers.join(ALICE, 100, 250)
    swarm, logs = await peers.join(BOB)
    reading = await read_log(swarm, logs, ALICE.author)
    assert reading.fresh
    said = told(reading)
    assert said["peer"] == ALICE.peer_id
    assert [(e["step"], e["gained"], e["name"]) for e in said["entries"]] == [
        (100, 100, "expert 1"),
        (250, 150, "expert 1"),
    ]


async def test_a_log_outlives_its_authors_peer(peers: Peers) -> None:
    alice, _ = await peers.join(ALICE, 100)
    bob, logs = await peers.join(BOB)
    await read_log(bob, logs, ALICE.author)
    await peers.tell(BOB, bob, logs)
    peers.network.drop(alice.author)
    carol, none = await peers.join(Identity.generate())
    assert (await read_log(carol, none, ALICE.author)).fresh
    peers.network.drop(bob.author)
    alone = await read_log(carol, none, ALICE.author)
    assert len(alone.entries) == 1 and not alone.fresh


async def test_only_what_is_new_is_fetched_the_next_time(peers: Peers) -> None:
    _, alices = await peers.join(ALICE, 100)
    swarm, logs = await peers.join(BOB)
    await read_log(swarm, logs, ALICE.author)
    alices.append(ALICE, head(ALICE, 200, parent=100))
    assert len((await read_log(swarm, logs, ALICE.author)).entries) == 2
    assert logs.read(ALICE.author) == alices.read(ALICE.author)


async def test_an_author_who_rewrites_the_log_is_found_out(peers: Peers, tmp_path: Path) -> None:
    _, alices = await peers.join(ALICE, 100, 200)
    swarm, logs = await peers.join(BOB)
    await read_log(swarm, logs, ALICE.author)
    rewritten = logs_in(tmp_path / "rewritten", 900, 1000, 1100)
    alices.keep(ALICE.author, rewritten.read(ALICE.author))
    with pytest.raises(BadContent, match="has signed two logs that contradict each other"):
        await read_log(swarm, logs, ALICE.author)
    assert [e.head.step for e in logs.entries(ALICE.author)] == [100, 200]


async def test_an_author_who_tells_two_logs_is_found_out_by_a_newcomer(
    peers: Peers, tmp_path: Path
) -> None:
    await peers.join(ALICE, 100)
    bob, logs = await peers.join(BOB)
    logs.keep(ALICE.author, logs_in(tmp_path / "another", 900).read(ALICE.author))
    await peers.tell(BOB, bob, logs)
    carol, none = await peers.join(Identity.generate())
    with pytest.raises(BadContent, match="has signed two logs"):
        await read_log(carol, none, ALICE.author)


@pytest.mark.parametrize(
    "steps", [(900,), (100, 900), (100, 200, 900)], ids=["shorter", "of one length", "longer"]
)
async def test_a_fork_is_found_out_however_long_it_is(
    peers: Peers, tmp_path: Path, steps: tuple[int, ...]
) -> None:
    _, alices = await peers.join(ALICE, 100, 200, 300)
    swarm, logs = await peers.join(BOB)
    await read_log(swarm, logs, ALICE.author)
    known = logs.read(ALICE.author)
    alices.keep(ALICE.author, logs_in(tmp_path / "fork", *steps).read(ALICE.author))
    with pytest.raises(BadContent, match="has signed two logs that contradict each other"):
        await read_log(swarm, logs, ALICE.author)
    assert logs.read(ALICE.author) == known


async def test_an_older_copy_of_a_log_contradicts_nothing(peers: Peers, tmp_path: Path) -> None:
    _, alices = await peers.join(ALICE, 100, 200, 300)
    swarm, logs = await peers.join(BOB)
    await read_log(swarm, logs, ALICE.author)
    alices.keep(ALICE.author, logs_in(tmp_path / "older", 100).read(ALICE.author))
    reading = await read_log(swarm, logs, ALICE.author)
    assert reading.fresh and len(reading.entries) == 3


async def test_entries_that_are_known_are_not_checked_again(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, alices = await peers.join(ALICE, 100, 200)
    swarm, logs = await peers.join(BOB)
    await read_log(swarm, logs, ALICE.author)
    alices.append(ALICE, head(ALICE, 300, parent=200))
    checks: list[bytes] = []
    unseal = Contribution.unseal
    monkeypatch.setattr(
        Contribution, "unseal", lambda sealed: checks.append(sealed) or unseal(sealed)
    )
    assert len((await read_log(swarm, logs, ALICE.author)).entries) == 3
    assert len(checks) == 3


class LongLog(ContributionLogs):
    """A log longer than what a stream takes ahead of its reader."""

    def read(self, author: bytes) -> bytes:
        return bytes(2 * PIPE_CAPACITY)


async def reading(swarm: MemorySwarm, server: MemorySwarm) -> tuple[Stream, bool]:
    """A stream on which a log was asked for, and whether the server begins to send it."""
    stream = await swarm.open(server.author, CONTRIBUTIONS_PROTOCOL, server.addresses())
    await stream.write(ALICE.author + bytes(8))
    return stream, await stream.read_exactly(4) != b"\xff" * 4


async def readers_of(
    peers: Peers, folder: Path, count: int, network_of: NetworkOf = nowhere
) -> tuple[MemorySwarm, list[MemorySwarm]]:
    server, *readers = [
        peers.network.join(Identity.generate().author, inactivity=60) for _ in range(count + 1)
    ]
    served = LogServer(LongLog(folder), network_of=network_of)
    await server.serve(CONTRIBUTIONS_PROTOCOL, served)
    return server, readers


async def test_who_takes_too_long_over_a_log_makes_room_for_others(
    peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contributions, "READERS", 1)
    server, (slow, other) = await readers_of(peers, tmp_path, 2)
    stream, begun = await reading(slow, server)
    assert begun

    async def other_is_served() -> bool:
        with contextlib.suppress(StreamClosed):
            await stream.read_exactly(1)
        _, begun = await reading(other, server)
        return begun

    await eventually(other_is_served)


async def test_readers_of_one_network_give_way_to_another(
    peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contributions, "READERS", 2)
    crowd: set[bytes] = set()

    async def network_of(author: bytes) -> str:
        return "crowd" if author in crowd else "elsewhere"

    server, readers = await readers_of(peers, tmp_path, 4, network_of)
    *crowded, newcomer = readers
    crowd |= {swarm.author for swarm in crowded}
    assert [(await reading(swarm, server))[1] for swarm in crowded] == [True, True, False]
    assert (await reading(newcomer, server))[1]


async def test_a_peer_sends_logs_in_turn_under_its_upload_limit(tmp_path: Path) -> None:
    passed: list[tuple[bytes, int]] = []

    class Noting(Pacer):
        async def let_pass(self, owner: bytes, size: int) -> None:
            passed.append((owner, size))

    world = PeerWorld(tmp_path)
    alice, bob = await world.join(), await world.join()
    alice.node.fetcher.pacers = Pacers(upload=Noting(1 << 20), download=Pacer(None))
    await serve(alice.node)
    alice.node.contributions.append(alice.node.identity, head(alice.node.identity, 100))
    await announce(
        alice.swarm, alice.node.identity, RUN, alice.node.contributions, alice.node.clock()
    )

    await read_log(bob.swarm, bob.node.contributions, alice.node.identity.author)

    assert {owner for owner, _ in passed} == {bob.node.identity.author}
    sent = len(alice.node.contributions.read(alice.node.identity.author))
    assert sum(size for _, size in passed) == 4 + sent


LIES = {
    "not a log": b"\0\0\0\5hello",
    "an endless entry": b"\xff" * 64,
    "another's log": None,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_liar_is_passed_over(peers: Peers, tmp_path: Path, lie: bytes | None) -> None:
    await peers.join(ALICE, 100)
    mallory, logs = await peers.join(MALLORY, 100, 200, 300)
    data = logs.read(MALLORY.author) if lie is None else lie
    logs._file(ALICE.author).write_bytes(data)
    await peers.tell(MALLORY, mallory, logs)

    async def tell_lie(author: bytes, stream: Stream) -> None:
        await stream.read_exactly(40)
        await stream.write(len(data).to_bytes(4, "big") + data)

    await mallory.serve(CONTRIBUTIONS_PROTOCOL, tell_lie)
    bob, none = await peers.join(BOB)
    assert len((await read_log(bob, none, ALICE.author)).entries) == 1


async def test_a_log_over_the_limit_is_refused_before_it_is_read(peers: Peers) -> None:
    alice, _ = await peers.join(ALICE, 100)

    async def boast(author: bytes, stream: Stream) -> None:
        await stream.read_exactly(40)
        await stream.write((LOG_LIMIT + 1).to_bytes(4, "big"))
        await asyncio.sleep(60)

    await alice.serve(CONTRIBUTIONS_PROTOCOL, boast)
    swarm, logs = await peers.join(BOB)
    with pytest.raises(NotAvailable, match="no peer has a contribution log"):
        await read_log(swarm, logs, ALICE.author)
    await alice.close()


async def test_nobody_has_the_log_of_who_published_nothing(peers: Peers) -> None:
    await peers.join(ALICE)
    swarm, logs = await peers.join(BOB)
    with pytest.raises(NotAvailable):
        await read_log(swarm, logs, ALICE.author)


async def test_a_home_keeps_so_many_logs_and_no_more(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contribution_logs, "MOST_LOGS", 1)
    await peers.join(ALICE, 100)
    swarm, logs = await peers.join(BOB, 5)
    assert len((await read_log(swarm, logs, ALICE.author)).entries) == 1
    assert logs.authors() == [BOB.author]


def test_an_entry_of_the_largest_head_fits_its_limit() -> None:
    largest = replace(Head.unseal(head(ALICE, 1)), step=2**48, images=2**48).seal(ALICE)
    entry = Contribution(ALICE.author, 2**48, bytes(32), 2**48, largest)
    assert len(entry.seal(ALICE)) <= Contribution.LIMIT

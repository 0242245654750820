"""What only the real node can do wrong: processes, ports, sockets, islands, clocks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paris_p2p.errors import ParisError, PortInUse, Unreachable, UsageProblem
from paris_p2p.identity import Identity, peer_id_of
from paris_p2p.network import hivemind_swarm as node_module
from paris_p2p.network.clock import TIME_PROTOCOL, tell_time
from paris_p2p.network.dht.validator import key_digest, sign_record
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.host import Host
from paris_p2p.network.p2pd import daemon as daemon_module
from paris_p2p.network.p2pd.listening import choose_port
from paris_p2p.network.p2pd.socket_folder import PREFIX, sweep
from paris_p2p.network.swarm import Stream
from tests.network.worlds import LibP2PWorld, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.process]


@pytest.fixture
async def world() -> AsyncIterator[LibP2PWorld]:
    async with LibP2PWorld() as world:
        yield world


def soon() -> float:
    return time.time() + 60


def nobody_here() -> str:
    """A well-formed address where nobody listens."""
    return f"/ip4/127.0.0.1/tcp/{choose_port('127.0.0.1', 0)}/p2p/{Identity.generate().peer_id}"


def running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        return False


def exists(path: str) -> bool:
    return Path(path).exists()


def socket_folders() -> set[str]:
    """The folders of this process's daemons."""
    return set(map(str, Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*")))


async def greet(author: bytes, stream: Stream) -> None:
    await stream.write(b"hello")


async def hear_greeting(listener: HivemindSwarm, greeter: HivemindSwarm) -> bytes:
    stream = await listener.open(greeter.author, "/paris/greet/1", greeter.addresses())
    try:
        return await stream.read_exactly(5)
    finally:
        await stream.close()


class TestListening:
    async def test_any_free_port_is_told(self, world: LibP2PWorld) -> None:
        peer = await world.start()
        assert peer.port > 0
        assert peer.addresses() == [f"/ip4/127.0.0.1/tcp/{peer.port}/p2p/{peer_id_of(peer.author)}"]

    async def test_a_given_port_is_used(self, world: LibP2PWorld) -> None:
        port = choose_port("127.0.0.1", 0)
        assert (await world.start(port=port)).port == port

    async def test_a_taken_port_is_refused(self, world: LibP2PWorld) -> None:
        peer = await world.start()
        with pytest.raises(PortInUse, match=str(peer.port)):
            await world.start(port=peer.port)

    async def test_a_port_taken_by_another_program_is_refused(self, world: LibP2PWorld) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortInUse):
            await world.start(port=other.getsockname()[1])

    @pytest.mark.parametrize("listen", ["localhost", "300.0.0.1", "203.0.113.7", ""])
    async def test_a_place_that_is_not_ours_is_refused(
        self, world: LibP2PWorld, listen: str
    ) -> None:
        with pytest.raises(UsageProblem):
            await world.start(listen=listen)

    async def test_everywhere_is_told_as_somewhere(self, world: LibP2PWorld) -> None:
        peer = await world.start(listen="0.0.0.0")
        assert peer.addresses()
        assert not any("0.0.0.0" in address for address in peer.addresses())
        assert len(peer.addresses()) <= 8

    async def test_announced_addresses_replace_our_own(self, world: LibP2PWorld) -> None:
        peer = await world.start(announce=("/ip4/203.0.113.7/tcp/4001",))
        assert peer.addresses() == [f"/ip4/203.0.113.7/tcp/4001/p2p/{peer_id_of(peer.author)}"]

    @pytest.mark.parametrize("announce", ["nonsense", "/ip4/203.0.113.7", "/ip4/1.2.3.4/tcp/0"])
    async def test_malformed_announcement(self, world: LibP2PWorld, announce: str) -> None:
        with pytest.raises(UsageProblem):
            await world.start(announce=(announce,))


class TestJoining:
    async def test_dead_addresses_are_normal(self, world: LibP2PWorld) -> None:
        peer = await world.start(bootstrap=(nobody_here(), "nonsense"))
        assert not peer.online()

    async def test_contact_may_be_required(self, world: LibP2PWorld) -> None:
        dead = nobody_here()
        with pytest.raises(Unreachable) as caught:
            await world.start(bootstrap=(dead, "nonsense"), require_contact=True)
        assert dead in str(caught.value)
        assert "nonsense" in str(caught.value)
        assert caught.value.remedy

    async def test_the_first_contact_is_tried_again(
        self, world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever is asked may be starting p2pd again at that moment."""
        asked: list[bytes] = []
        ping = Host.ping

        async def deaf_at_first(host: Host, author: bytes) -> bool:
            asked.append(author)
            return len(asked) > 1 and await ping(host, author)

        async def introduced_by_nobody(host: Host, author: bytes) -> bool:
            return False

        first = await world.start()
        monkeypatch.setattr(Host, "meet_through", introduced_by_nobody)
        monkeypatch.setattr(Host, "ping", deaf_at_first)
        peer = await world.start(bootstrap=first.addresses(), require_contact=True)
        assert peer.online() and asked == 2 * [first.author]

    async def test_one_live_address_is_enough(self, world: LibP2PWorld) -> None:
        first = await world.start()
        addresses = (nobody_here(), first.addresses()[0])
        assert (await world.start(bootstrap=addresses, require_contact=True)).online()

    async def test_a_remembered_peer_replaces_a_dead_bootstrap(self, world: LibP2PWorld) -> None:
        first = await world.start()
        peer = await world.start(
            bootstrap=(nobody_here(),), known=first.addresses(), require_contact=True
        )
        assert peer.online()
        assert first.addresses()[0] in peer.known_addresses()

    async def test_our_own_address_is_not_dialled(self, world: LibP2PWorld) -> None:
        identity = Identity.generate()
        port = choose_port("127.0.0.1", 0)
        itself = f"/ip4/127.0.0.1/tcp/{port}/p2p/{identity.peer_id}"
        peer = await world.start(
            identity=identity, port=port, bootstrap=(itself,), require_contact=True
        )
        assert peer.addresses() == [itself]

    async def test_somebody_else_at_the_address(self, world: LibP2PWorld) -> None:
        """The peer id in an address is verified, not believed."""
        first, peer = await world.start(), await world.start()
        transport = first.addresses()[0].partition("/p2p/")[0]
        with pytest.raises(Unreachable):
            await peer.connect(f"{transport}/p2p/{Identity.generate().peer_id}")

    async def test_the_swarm_outlives_its_bootstrap(self, world: LibP2PWorld) -> None:
        bootstrap, one, two = await world.circle(3)
        await world.kill(bootstrap)
        newcomer = await world.start(bootstrap=bootstrap.addresses(), known=two.addresses())
        assert await one.store("k", b"value", soon())
        assert [entry.value for entry in await newcomer.lookup("k")] == [b"value"]


class TestClock:
    async def test_strangers_who_lie_about_the_time_do_not_outvote_who_was_named(
        self, world: LibP2PWorld
    ) -> None:
        async def lie(author: bytes, stream: Stream) -> None:
            await tell_time(author, stream, lambda: time.time() - 600)

        named, *liars = await world.circle(4)
        for liar in liars:
            liar._host._handlers[TIME_PROTOCOL] = lie
        newcomer = await world.start(bootstrap=named.addresses(), known=liars[0].addresses())
        await eventually(lambda: newcomer.peers() == 4)
        skew = await newcomer.clock_skew()
        assert skew is not None and abs(skew) < 5

    async def test_who_does_not_tell_the_time_is_not_waited_for(
        self, world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def silence(author: bytes, stream: Stream) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(node_module, "PATIENCE", 0.1)
        one, silent = await world.circle(2)
        silent._host._handlers[TIME_PROTOCOL] = silence
        assert await one.clock_skew() is None


class TestDouble:
    async def test_another_process_with_our_key_is_noticed(self, world: LibP2PWorld) -> None:
        """A copied home: both say their records under one name, each over the other's."""
        door, identity = await world.start(), Identity.generate()
        one = await world.start(identity=identity, bootstrap=door.addresses())
        other = await world.start(identity=identity, bootstrap=door.addresses())
        for number in range(3):
            await eventually(lambda: one.store("k", b"one", soon()))
            await one.lookup("k")
            assert one.doubled() is (number > 1)
            await eventually(lambda: other.store("k", b"other", soon()))
            await one.lookup("k")

    async def test_an_earlier_life_is_no_double(self, world: LibP2PWorld) -> None:
        reader, identity = await world.start(), Identity.generate()
        earlier = sign_record(identity, key_digest("k"), b"earlier", time.time() + 1000)
        author = await world.start(identity=identity, bootstrap=reader.addresses())
        assert await author.store("k", b"now", soon())
        assert reader._record_store.put(earlier)
        for _ in range(2):
            await author.lookup("k")
            assert not author.doubled()
            assert await author.store("k", b"now", soon())


class TestHealing:
    @pytest.mark.slow
    async def test_an_island_finds_back(self, world: LibP2PWorld) -> None:
        """A peer that lost everybody dials everybody it knew, and says its records again."""
        first = await world.start()
        islander = await world.start(bootstrap=first.addresses(), heal_period=0.3)
        await first.close()
        await eventually(lambda: not islander.online())
        assert await islander.store("k", b"from the island", soon())
        back = await world.start(identity=first._host.listen_config.identity, port=first.port)
        await eventually(islander.online)

        async def heard() -> bool:
            return [record.value for record in back._record_store.under(key_digest("k"))] == [
                b"from the island"
            ]

        await eventually(heard)

    async def test_the_dead_are_forgotten(self, world: LibP2PWorld) -> None:
        one, two, three = await world.circle(3, heal_period=0.3)
        await eventually(lambda: one.peers() == two.peers() == 2)
        await world.kill(three)
        await eventually(lambda: one.peers() == two.peers() == 1)

    async def test_p2pd_is_rebuilt_under_the_same_name(self, world: LibP2PWorld) -> None:
        one, two = await world.circle(2)
        await two.serve("/paris/greet/1", greet)
        assert await one.store("k", b"value", soon())
        before, dead = two.addresses(), two.p2pd_pid
        os.kill(dead, signal.SIGKILL)
        await eventually(lambda: two.p2pd_pid != dead and two.online())
        assert two.addresses() == before
        assert [entry.value for entry in await two.lookup("k")] == [b"value"]
        assert await two.store("after", b"rebuilt", soon())

        async def one_hears_two() -> bool:
            try:
                return await hear_greeting(one, two) == b"hello"
            except Unreachable:
                return False

        await eventually(one_hears_two)
        assert [entry.value for entry in await one.lookup("after")] == [b"rebuilt"]

    async def test_what_others_stored_here_survives_p2pd(self, world: LibP2PWorld) -> None:
        one, two = await world.circle(2)
        assert await one.store("k", b"value", soon())
        dead = two.p2pd_pid
        os.kill(dead, signal.SIGKILL)
        await world.kill(one)
        await eventually(lambda: two.p2pd_pid != dead)
        assert [entry.value for entry in await two.lookup("k")] == [b"value"]

    async def test_calls_during_a_rebuild_wait_for_it(self, world: LibP2PWorld) -> None:
        one, two = await world.circle(2)
        one._host.ready.clear()
        storing = asyncio.create_task(one.store("k", b"value", soon()))
        looking = asyncio.create_task(one.lookup("k"))
        assert not (await asyncio.wait({storing, looking}, timeout=0.2))[0]
        os.kill(one.p2pd_pid, signal.SIGKILL)
        await storing
        await looking

        async def two_sees_it() -> bool:
            return [entry.value for entry in await two.lookup("k")] == [b"value"]

        await eventually(two_sees_it)


class TestRecords:
    async def test_a_restarted_author_has_the_last_word(self, world: LibP2PWorld) -> None:
        """What an earlier life of the process said may expire later than what this one says."""
        reader, other = await world.circle(2)
        identity = Identity.generate()
        earlier = sign_record(identity, key_digest("k"), b"earlier", time.time() + 300)
        for peer in (reader, other):
            assert peer._record_store.put(earlier)
        author = await world.start(identity=identity, bootstrap=reader.addresses())
        assert await author.store("k", b"now", soon())
        assert [entry.value for entry in await reader.lookup("k")] == [b"now"]

    async def test_a_restarted_author_can_withdraw(self, world: LibP2PWorld) -> None:
        reader, other = await world.circle(2)
        identity = Identity.generate()
        earlier = sign_record(identity, key_digest("k"), b"earlier", time.time() + 1000)
        for peer in (reader, other):
            assert peer._record_store.put(earlier)
        author = await world.start(identity=identity, bootstrap=reader.addresses())
        await author.withdraw("k")
        assert await reader.lookup("k") == []


class TestLeaving:
    async def test_nothing_is_left_behind(self, world: LibP2PWorld) -> None:
        peer = await world.start()
        pid, folder = peer.p2pd_pid, peer._daemon._folder.path
        assert running(pid)
        assert list(folder.iterdir())
        await peer.close()
        assert not running(pid)
        assert not folder.exists()

    async def test_a_frozen_p2pd_is_ended_too(
        self, world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(daemon_module, "STOP_TIMEOUT", 0.2)
        peer = await world.start()
        pid = peer.p2pd_pid
        os.kill(pid, signal.SIGSTOP)
        await peer.close()
        assert not running(pid)

    async def test_a_failed_start_leaves_nothing(self, world: LibP2PWorld) -> None:
        before = socket_folders()
        broken = world.folder / "broken"
        broken.write_bytes(b"this is no key")
        broken.chmod(0o600)
        with pytest.raises(ParisError):
            await HivemindSwarm.start(broken, Identity.generate(), "127.0.0.1", 0)
        assert socket_folders() <= before

    async def test_a_killed_process_takes_p2pd_along_and_is_swept_up_after(
        self, world: LibP2PWorld
    ) -> None:
        identity = Identity.generate()
        identity.save(world.folder / "key")
        script = (
            "import asyncio, pathlib\n"
            "from paris_p2p.identity import Identity\n"
            "from paris_p2p.network.hivemind_swarm import HivemindSwarm\n"
            "async def main():\n"
            f"    key = pathlib.Path({str(world.folder / 'key')!r})\n"
            "    peer = await HivemindSwarm.start(key, Identity.load(key), '127.0.0.1', 0)\n"
            "    print(peer.p2pd_pid, peer._daemon._folder.path, flush=True)\n"
            "    await asyncio.Event().wait()\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        pid, folder = (await process.stdout.readline()).decode().split()
        process.kill()
        _, complaints = await process.communicate()
        assert complaints == b""
        await eventually(lambda: not running(int(pid)))
        sweep(time.time())
        assert not exists(folder)

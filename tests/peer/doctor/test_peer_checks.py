"""Made-up measurements become the right rows, and whatever is wrong has a remedy."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.network.reach.dial_back import Dial, DialBackAnswer
from paris_p2p.network.reach.reachability_types import Nat, Reachability, ReachState
from paris_p2p.peer.doctor import machine_checks, peer_checks
from paris_p2p.peer.doctor.peer_checks import CheckState, Row

PUBLIC = "/ip4/8.8.8.8/tcp/31337"
SECOND = "/ip4/8.8.4.4/tcp/31337"
LAN = "/ip4/192.168.1.4/tcp/31337"
LOOPBACK = "/ip4/127.0.0.1/tcp/31337"
RELAY = "/ip4/9.9.9.9/tcp/31337/p2p/12D3KooWDCFUamotkbPpoot6BMCdjp1kvHpVLixqTT8S6qzN44X5"


def states(rows: list[Row]) -> dict[str, CheckState]:
    return {row.check: row.state for row in rows}


def answer(*dials: tuple[str, str], seen: tuple[str, ...] = (PUBLIC,)) -> DialBackAnswer:
    reason = {"failed": "Connection refused", "refused": "not yours"}
    made = (Dial(transport, verdict, reason.get(verdict, "")) for transport, verdict in dials)
    return DialBackAnswer(seen, tuple(made))


def dialled(
    *answers: DialBackAnswer | str, announced: tuple[str, ...] = (PUBLIC,), relayed: bool = False
) -> list[Row]:
    peers = {f"peer-{number}": found for number, found in enumerate(answers)}
    return peer_checks.dialback_rows(announced, peers, relayed)


class TestDialBack:
    def test_an_address_that_others_reach_is_well(self) -> None:
        (row,) = dialled(answer((PUBLIC, "reached")), answer((PUBLIC, "reached")))
        assert row.state == CheckState.OK
        assert "2 of 2" in row.seen

    def test_an_address_that_nobody_reaches_is_bad_and_says_why(self) -> None:
        (row,) = dialled(answer((PUBLIC, "failed")), answer((PUBLIC, "failed")))
        assert row.state == CheckState.BAD
        assert "Connection refused" in row.seen
        assert "forward" in row.remedy

    def test_a_relay_makes_it_less_bad(self) -> None:
        (row,) = dialled(answer((PUBLIC, "failed")), relayed=True)
        assert row.state == CheckState.WARNING

    def test_one_of_two_addresses_is_enough(self) -> None:
        found = answer((PUBLIC, "reached"), (SECOND, "failed"))
        rows = dialled(found, announced=(PUBLIC, SECOND))
        assert [row.state for row in rows] == [CheckState.OK, CheckState.WARNING]

    @pytest.mark.parametrize(("transport", "where"), [(LAN, "network"), (LOOPBACK, "machine")])
    def test_reached_from_nearby_only_is_said(self, transport: str, where: str) -> None:
        (row,) = dialled(answer((transport, "reached")), announced=(transport,))
        assert row.state == CheckState.WARNING
        assert f"this {where}" in row.seen

    def test_a_forwarded_port_that_is_not_announced_is_found(self) -> None:
        found = [answer((PUBLIC, "reached"), (LAN, "refused")) for _ in range(2)]
        (row,) = dialled(*found, announced=(LAN,))
        assert row.state == CheckState.WARNING
        assert row.remedy == f"Start with --announce {PUBLIC}"

    def test_one_liar_among_others_advises_no_address(self) -> None:
        rows = dialled(answer((SECOND, "reached")), answer((PUBLIC, "reached")))
        assert SECOND not in str(rows)

    def test_addresses_that_nobody_could_try_are_said_with_where_others_see_us(self) -> None:
        (row,) = dialled(answer((LAN, "refused")), announced=(LAN,))
        assert row.state == CheckState.WARNING
        assert "8.8.8.8" in row.seen

    @pytest.mark.parametrize("answers", [(), ("no answer within 20 s",)])
    def test_without_an_answer_nothing_is_known(self, answers: tuple[str, ...]) -> None:
        (row,) = dialled(*answers)
        assert row.state == CheckState.WARNING
        assert all(reason in row.seen for reason in answers)


class TestReachability:
    def test_public_is_one_good_line(self) -> None:
        reach = Reachability(ReachState.PUBLIC, serves_relay=True, upnp=PUBLIC)
        (row,) = peer_checks.reachability_rows(reach)
        assert row.state == CheckState.OK
        assert "relay" in row.seen and PUBLIC in row.seen

    def test_unknown_is_a_warning(self) -> None:
        (row,) = peer_checks.reachability_rows(Reachability())
        assert row.state == CheckState.WARNING

    def test_private_without_relay_is_bad(self) -> None:
        rows = states(
            peer_checks.reachability_rows(Reachability(ReachState.PRIVATE, nat=Nat.SYMMETRIC))
        )
        assert rows["reachability"] == rows["relay"] == CheckState.BAD
        assert rows["NAT"] == rows["hole punching"] == CheckState.WARNING

    def test_private_behind_a_relay_works(self) -> None:
        reach = Reachability(ReachState.PRIVATE, relays=(RELAY,), nat=Nat.CONE, hole_punching=True)
        rows = states(peer_checks.reachability_rows(reach))
        assert CheckState.BAD not in rows.values()
        assert rows["relay"] == rows["NAT"] == rows["hole punching"] == CheckState.OK

    @pytest.mark.parametrize("nat", Nat)
    def test_every_kind_of_nat_has_a_line(self, nat: Nat) -> None:
        rows = states(peer_checks.reachability_rows(Reachability(ReachState.PRIVATE, nat=nat)))
        assert "NAT" in rows


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (peer_checks.peers_row(3), CheckState.OK),
        (peer_checks.peers_row(0), CheckState.WARNING),
        (peer_checks.clock_row(None, 10), CheckState.WARNING),
        (peer_checks.clock_row(0.3, 10), CheckState.OK),
        (peer_checks.clock_row(-3, 10), CheckState.WARNING),
        (peer_checks.clock_row(-11, 10), CheckState.BAD),
        (peer_checks.clock_row(11, 10), CheckState.BAD),
        (peer_checks.run_row("emoji", bytes(32), 9, 9), CheckState.OK),
        (peer_checks.run_row("emoji", bytes(32), 8, 9), CheckState.WARNING),
        (peer_checks.store_row(64, 0, 90), CheckState.OK),
        (peer_checks.store_row(64, 1, 90), CheckState.BAD),
        (machine_checks.port_row(31337, ""), CheckState.OK),
        (machine_checks.port_row(31337, "port 31337 is in use by another program"), CheckState.BAD),
        (machine_checks.disk_row(10**12, 10**9, 10**10), CheckState.OK),
        (machine_checks.disk_row(5 * 10**9, 10**9, 10**10), CheckState.WARNING),
        (machine_checks.disk_row(10**6, 10**9, 10**9), CheckState.BAD),
        (machine_checks.sync_row(0.01), CheckState.OK),
        (machine_checks.sync_row(3.0), CheckState.WARNING),
        (machine_checks.sync_row(None, "read-only file system"), CheckState.BAD),
        (machine_checks.memory_row(8 * 10**9, 10**8), CheckState.OK),
        (machine_checks.memory_row(8 * 10**8, 10**8), CheckState.WARNING),
        (machine_checks.memory_row(10**8, 0), CheckState.OK),
        (machine_checks.memory_row(None, 10**8), CheckState.WARNING),
        (machine_checks.files_row(65536), CheckState.OK),
        (machine_checks.files_row(512), CheckState.WARNING),
        (machine_checks.files_row(64), CheckState.BAD),
        (machine_checks.udp_row(""), CheckState.OK),
        (machine_checks.udp_row("no UDP socket on ::: not supported"), CheckState.WARNING),
        (machine_checks.gpu_row([], 0), CheckState.OK),
        (machine_checks.gpu_row([("H100", 80 * 10**9)], 10**9), CheckState.OK),
        (machine_checks.gpu_row([("Apple MPS", 0)], 10**9), CheckState.OK),
        (machine_checks.gpu_row([("GT 710", 10**9)], 10**10), CheckState.WARNING),
        (machine_checks.gpu_row("torch cannot be imported: no such file", 0), CheckState.BAD),
        (machine_checks.version_row({"python": "3.11.7", "torch": "2.15.0"}), CheckState.OK),
        (machine_checks.version_row({"python": "3.11.7", "torch": None}), CheckState.OK),
        (machine_checks.version_row({"python": "3.11.7", "hivemind": None}), CheckState.BAD),
    ],
    ids=lambda value: value.seen if isinstance(value, Row) else None,
)
def test_a_measurement_becomes_a_row(row: Row, state: CheckState) -> None:
    assert row.state == state
    assert bool(row.remedy) == (state != CheckState.OK)


def test_one_bootstrap_that_answers_is_enough() -> None:
    rows = machine_checks.bootstrap_rows({PUBLIC: "", SECOND: "Connection refused"})
    assert [row.state for row in rows] == [CheckState.OK, CheckState.WARNING]
    rows = machine_checks.bootstrap_rows(
        {PUBLIC: "no answer within 5 s", SECOND: "Connection refused"}
    )
    assert [row.state for row in rows] == [CheckState.BAD, CheckState.BAD]
    assert machine_checks.bootstrap_rows({}) == []


dials = st.builds(
    Dial,
    st.sampled_from([PUBLIC, SECOND, LAN, LOOPBACK, "nonsense"]),
    st.sampled_from(["reached", "failed", "refused", "busy"]),
    st.sampled_from(["", "Connection refused"]),
)
answers = st.builds(
    lambda seen, made: DialBackAnswer(tuple(seen), tuple(made)),
    st.lists(st.sampled_from([PUBLIC, LAN, "nonsense"]), max_size=8),
    st.lists(dials, max_size=8),
)


@given(
    st.lists(st.sampled_from([PUBLIC, SECOND, LAN, LOOPBACK]), unique=True),
    st.dictionaries(st.sampled_from("abcde"), answers | st.just("silent")),
    st.booleans(),
)
def test_whatever_others_answer_there_is_a_line_and_nothing_bad_lacks_a_remedy(
    announced: list[str], found: dict[str, DialBackAnswer | str], relayed: bool
) -> None:
    rows = peer_checks.dialback_rows(announced, found, relayed)
    assert rows
    assert all(row.remedy for row in rows if row.state != CheckState.OK)


def test_a_report_is_json() -> None:
    told = peer_checks.report([peer_checks.peers_row(3)], None)
    (row,) = json.loads(json.dumps(told))["rows"]
    assert row == {"check": "peers", "state": "ok", "seen": "3 other peers known", "remedy": ""}

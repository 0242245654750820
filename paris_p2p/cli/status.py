"""`paris-peer status`: the state of the run and of this peer."""

from __future__ import annotations

from typing import Any

from paris_p2p.cli.options import (
    BootstrapOption,
    HomeOption,
    JsonOption,
    RunOption,
    home_of,
)
from paris_p2p.cli.terminal import write, write_json, write_table
from paris_p2p.cli.training import progress_line
from paris_p2p.records.run import slot_name

SLOT_COLUMNS = (
    "slot",
    "claimed by",
    "step",
    "held-out loss",
    "providers",
    "objective",
    "needs",
    "about",
)
PEER_COLUMNS = ("peer", "role", "agent", "address")
REFUSED_COLUMNS = ("refused", "by", "times", "reason")
MOST_REFUSED = 12
"""Most refusals that the table shows, newest first."""


def status(
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the experts of this peer's runs, the peers, and what this peer holds.

    paris-peer status

    paris-peer status --json | jq '.runs[].slots[] | {name, claim, head}'
    """
    from paris_p2p.api.client import connected

    with connected(home_of(home), bootstrap or [], run) as client:
        report = client.get("/v1/status")
    if as_json:
        write_json(report)
        return
    write(*_peer_lines(report["peer"]), *(f"warning: {text}" for text in report["warnings"]))
    for row in report["runs"]:
        write(_run_line(row), replication_line(row["replication"]), *map(job_line, row["jobs"]))
        write_table(SLOT_COLUMNS, map(_slot_row, row["slots"]))
        peers = sorted(row["peers"], key=lambda peer: str(peer["id"]))
        write_table(PEER_COLUMNS, [_peer_row(peer, report["peer"]["id"]) for peer in peers])
    if report["refused"]:
        write_table(REFUSED_COLUMNS, map(_refused_row, report["refused"][:MOST_REFUSED]))
    if len(report["refused"]) > MOST_REFUSED:
        write(f"{len(report['refused']) - MOST_REFUSED} older refusals: see --json")


def _run_line(run: dict[str, Any]) -> str:
    only = ", for its members only" if run["members_only"] else ""
    return f"run {run['name']} ({run['id'][:12]}), {run['clusters']} experts{only}"


def _peer_lines(peer: dict[str, Any]) -> list[str]:
    line = "online" if peer["online"] else "offline: no other peer is known"
    role = "" if peer["role"] == "peer" else f"{peer['role']}, "
    return [
        f"peer {peer['id']} ({role}{line})",
        f"home {peer['home']}",
        f"holds {peer['held']} contents; {_megabytes(peer['store_bytes'])} of a quota of "
        f"{_megabytes(peer['quota_bytes'])} used",
        f"sent {_megabytes(peer['sent_bytes'])}, received {_megabytes(peer['received_bytes'])}",
    ]


def job_line(job: dict[str, Any]) -> str:
    """The slot this peer trains, with its progress once there is any."""
    name = slot_name(job["slot"])
    return f"trains {name}: {progress_line(job)}" if "train_loss" in job else f"trains {name}"


def replication_line(row: dict[str, int]) -> str:
    """Whether all contents of the run have enough providers, the worst first."""
    replicas, below = row["replicas"], row["below_replicas"]
    if not below:
        return f"all {row['contents']} contents have {replicas} providers or more"
    told = [
        (row["without_provider"], "no provider"),
        (row["single_provider"], "a single provider"),
        (below, f"fewer than {replicas} providers"),
    ]
    return "; ".join(f"{_contents(count)} {what}" for count, what in told if count)


def _contents(count: int) -> str:
    return "1 content has" if count == 1 else f"{count} contents have"


def _slot_row(slot: dict[str, Any]) -> list[str]:
    claim, head = slot["claim"], slot["head"]
    return [
        slot["name"],
        _holder(claim),
        str(max(claim["step"] if claim else 0, head["step"] if head else 0)),
        _loss(head),
        f"{slot['providers']}{' (me)' if slot['held'] else ''}",
        slot["objective"] or "",
        _megabytes(slot["needs_bytes"]),
        " ".join(slot["words"][:4]),
    ]


def _loss(head: dict[str, Any] | None) -> str:
    """A head's held-out loss. Nobody has measured that of an imported one, which is at step 0."""
    if head is None:
        return "no head"
    return f"{head['held_out_loss']:.4f}" if head["step"] else "imported"


def _holder(claim: dict[str, Any] | None) -> str:
    if claim is None:
        return "unclaimed"
    return f"{'me' if claim['mine'] else claim['by'][-8:]}, {claim['seconds_left']:.0f} s left"


def _peer_row(peer: dict[str, Any], me: str) -> list[str]:
    name = f"{peer['id'][-8:]}{' (me)' if peer['id'] == me else ''}"
    address = peer["addresses"][0].split("/p2p/")[0] if peer["addresses"] else "none"
    return [name, peer["role"], peer["agent"], address]


def _refused_row(row: dict[str, Any]) -> list[str]:
    by = row["by"][-8:] if row["by"] else "unknown"
    return [row["what"], by, str(row["times"]), row["reason"]]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"

"""Rows of a checkup for the measurements of `machine_probes`: pure, like `peer_checks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paris_p2p.peer.doctor.peer_checks import CheckState, Row, short

FILES = "open files"
FILES_NEEDED = 256
FILES_WANTED = 1024
"""Open files. The chunk service, p2pd's connections and the DHT share them."""

DISK_NEEDED = 256 << 20
"""Free bytes below which a peer soon cannot write a snapshot."""

TRAINING_BASE = 770 << 20
"""Bytes of an empty training process (Python, torch, diffusers) on Linux, torch 2.15, no CUDA."""

SLOW_SYNC = 1.0
"""Seconds for one small synced write above which the disk slows everything down."""


def port_row(port: int, trouble: str) -> Row:
    """`trouble` : why the TCP port (0: any free one) cannot be listened on; "" if it can."""
    if trouble:
        return Row(
            "port", CheckState.BAD, trouble, "Choose another --port, or stop the other program"
        )
    return Row("port", CheckState.OK, f"TCP {port} is free" if port else "any free TCP port")


def bootstrap_rows(troubles: Mapping[str, str]) -> list[Row]:
    """`troubles` : by address, why its peer does not answer there; "" if it does."""
    state = CheckState.WARNING if "" in troubles.values() else CheckState.BAD
    return [_bootstrap_row(address, trouble, state) for address, trouble in troubles.items()]


def _bootstrap_row(address: str, trouble: str, state: CheckState) -> Row:
    if trouble:
        remedy = "Ask its operator, or give another --bootstrap; any peer will do"
        return Row("bootstrap", state, f"{short(address)}: {trouble}", remedy)
    return Row("bootstrap", CheckState.OK, f"{short(address)} answers and proves its key")


def disk_row(free: int, held: int, quota: int) -> Row:
    """`free` : free bytes on the home's disk. The store may still take `quota - held` bytes."""
    seen = f"{_size(free)} free; the store holds {_size(held)} of at most {_size(quota)}"
    if free < DISK_NEEDED:
        return Row(
            "disk space", CheckState.BAD, seen, "Free some space, or move the home with --home"
        )
    if free < quota - held:
        return Row(
            "disk space", CheckState.WARNING, seen, "The disk fills before the quota: lower it"
        )
    return Row("disk space", CheckState.OK, seen)


def sync_row(seconds: float | None, trouble: str = "") -> Row:
    """`seconds` : the time of a small synced write; None if it failed, for the reason `trouble`."""
    if seconds is None:
        remedy = "Choose a folder of your own on a sound disk with --home"
        return Row("disk writes", CheckState.BAD, trouble, remedy)
    seen = f"synced in {1000 * seconds:.0f} ms"
    if seconds > SLOW_SYNC:
        return Row(
            "disk writes", CheckState.WARNING, seen, "Put the home on a faster disk with --home"
        )
    return Row("disk writes", CheckState.OK, seen)


def untried_row(owner: str) -> Row:
    """Replaces `sync_row` for a home of another user, where nothing is written."""
    return Row("disk writes", CheckState.OK, f"not tried: the home belongs to {owner}")


def memory_row(available: int | None, need: int) -> Row:
    """`available` : bytes of memory; None if unknown. `need` : an expert's bytes; 0 if unknown."""
    if available is None:
        return Row("memory", CheckState.WARNING, "cannot be read here", "Watch it while you train")
    seen = f"{_size(available)} available"
    seen += f"; training an expert takes {_size(TRAINING_BASE + need)} or more" if need else ""
    if need and available < TRAINING_BASE + need:
        remedy = "Train on a machine with more memory; serving and sampling need less"
        return Row("memory", CheckState.WARNING, seen, remedy)
    return Row("memory", CheckState.OK, seen)


def files_row(limit: int) -> Row:
    """`limit` : files that the running peer, or else this process, may have open."""
    seen = f"{limit} files may be open"
    if limit >= FILES_WANTED:
        return Row(FILES, CheckState.OK, seen)
    state = CheckState.WARNING if limit >= FILES_NEEDED else CheckState.BAD
    return Row(FILES, state, seen, f"Raise it: ulimit -n {4 * FILES_WANTED}")


def udp_row(trouble: str) -> Row:
    """`trouble` : why no UDP socket could be opened; "" if one could."""
    if trouble:
        return Row(
            "UDP", CheckState.WARNING, trouble, "QUIC and DNS need UDP; TCP works without it"
        )
    return Row("UDP", CheckState.OK, "sockets can be opened")


def gpu_row(devices: Sequence[tuple[str, int]] | str, need: int) -> Row:
    """`devices` : names and bytes of memory (0: shared), or why torch could not list them.

    `need` : bytes to train an expert of the run; 0 if unknown.
    """
    if isinstance(devices, str):
        remedy = "Reinstall paris-p2p; a peer that neither trains nor samples works without torch"
        return Row("GPU", CheckState.BAD, devices, remedy)
    if not devices:
        return Row("GPU", CheckState.OK, "none that torch can use; training runs on the processor")
    seen = ", ".join(f"{name}{f', {_size(size)}' if size else ''}" for name, size in devices)
    if all(0 < size < need for _, size in devices):
        remedy = f"An expert of this run takes {_size(need)} or more: train on another machine"
        return Row("GPU", CheckState.WARNING, seen, remedy)
    return Row("GPU", CheckState.OK, seen)


def version_row(versions: Mapping[str, str | None]) -> Row:
    """`versions` : installed versions by package; None if missing.

    A missing torch is reported by `gpu_row`: a peer still serves without it.
    """
    seen = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    if any(version is None for name, version in versions.items() if name != "torch"):
        return Row(
            "versions", CheckState.BAD, seen, "Reinstall: pip install --force-reinstall paris-p2p"
        )
    return Row("versions", CheckState.OK, seen)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"

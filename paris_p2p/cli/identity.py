"""`paris-peer identity`: a peer's key and its backup; a private swarm's key."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from paris_p2p.cli.options import HomeOption, JsonOption, home_of
from paris_p2p.cli.terminal import write, write_json
from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.files import write_atomically
from paris_p2p.home import Home
from paris_p2p.identity import Identity

PASSPHRASE_VARIABLE = "PARIS_PASSPHRASE"
MOST_PASSPHRASE = 1024

PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        help="File whose first line is the passphrase "
        f"(default: ${PASSPHRASE_VARIABLE}, or asked for on a terminal)."
    ),
]

app = typer.Typer(no_args_is_help=True, help="This peer's key, and its backup.")


@app.command("show")
def show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show this peer's identity.

    paris-peer identity show
    """
    place = home_of(home)
    identity = _identity_in(place)
    told: dict[str, Any] = {
        "peer": identity.peer_id,
        "author": identity.author.hex(),
        "home": str(place.path),
        "since": place.identity_file.stat().st_mtime,
    }
    if as_json:
        write_json(told)
        return
    write(
        f"peer    {told['peer']}",
        f"author  {told['author']}",
        f"home    {told['home']}",
        f"since   {datetime.fromtimestamp(told['since'], UTC):%Y-%m-%d %H:%M UTC}",
    )


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="The encrypted backup to write.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an encrypted backup of this peer's key. Nobody can restore it without the passphrase.

    paris-peer identity export me.pem
    """
    from paris_p2p.key_backup import encrypt

    place = home_of(home)
    identity = _identity_in(place)
    if file.exists():
        raise UsageProblem(f"{file} exists already", "Choose another name for the backup")
    data = encrypt(identity, _passphrase(passphrase_file, twice=True))
    write_atomically(file, data)
    _say(
        as_json,
        {"event": "exported", "peer": identity.peer_id, "path": str(file.absolute())},
        f"wrote {file}: the key of {identity.peer_id}, encrypted",
    )


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A backup that `export` wrote.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another identity; its key is kept.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Restore this peer's key from an encrypted backup.

    Any encrypted Ed25519 key in PEM can be restored, whichever program wrote it.

    paris-peer identity import me.pem
    """
    from paris_p2p.key_backup import decrypt

    place = home_of(home)
    data = _read_backup(file)
    place.create()
    with _without_a_peer(place):
        former = Identity.load(place.identity_file) if place.identity_file.exists() else None
        identity = decrypt(data, _passphrase(passphrase_file, twice=False))
        replaced = None
        if former is not None and former.author != identity.author:
            replaced = _set_aside(place, former, force)
        identity.save(place.identity_file, over=True)
    event = {
        "event": "imported",
        "peer": identity.peer_id,
        "replaced": str(replaced) if replaced else None,
    }
    kept = f"; the former key is kept in {replaced}" if replaced else ""
    _say(as_json, event, f"{place.path} is now {identity.peer_id}{kept}")


@app.command("swarm-key")
def swarm_key(
    file: Annotated[Path, typer.Argument(help="The key file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Make the key of a new private swarm, for every member to copy.

    paris-peer identity swarm-key swarm.key

    paris-peer start --swarm-key-file swarm.key
    """
    from paris_p2p.network.swarm_key import SwarmKey

    SwarmKey.generate().save(file)
    _say(
        as_json,
        {"event": "swarm-key", "path": str(file.absolute())},
        f"wrote {file}: anybody with a copy can join with --swarm-key-file",
    )


def _identity_in(place: Home) -> Identity:
    if not place.identity_file.exists():
        raise UsageProblem(
            f"there is no identity in {place.path}",
            "paris-peer start makes one, paris-peer identity import restores one",
        )
    return Identity.load(place.identity_file)


def _set_aside(place: Home, former: Identity, force: bool) -> Path:
    """Keep the key that is about to be replaced; returns its file."""
    if not force:
        raise UsageProblem(
            f"{place.path} already has another identity, {former.peer_id}",
            "Give another --home, or --force to replace it",
        )
    kept = place.identity_file.with_name(f"identity-{former.peer_id[-8:]}.key")
    former.save(kept)
    return kept


def _without_a_peer(place: Home) -> AbstractContextManager[None]:
    """The home's lock: no peer may run on a key that is being replaced."""
    if not place.path.is_dir():
        raise UsageProblem(f"there is no home {place.path}", "paris-peer start makes one")
    return place.lock("Stop the peer that runs there first")


def _read_backup(file: Path) -> bytes:
    """The backup, checked to be an encrypted key before its passphrase is asked for."""
    from paris_p2p.key_backup import LIMIT, expect_encrypted_key

    try:
        with file.open("rb") as opened:
            data = opened.read(LIMIT + 1)
    except OSError as error:
        raise UsageProblem(f"cannot read the backup {file}: {error.strerror}") from error
    expect_encrypted_key(data)
    return data


def _passphrase(file: Path | None, twice: bool) -> str:
    if file is not None:
        return _first_line(file)
    if PASSPHRASE_VARIABLE in os.environ:
        return os.environ[PASSPHRASE_VARIABLE]
    if not sys.stdin.isatty():
        raise UsageProblem(
            "a passphrase is needed, and there is no terminal to ask on",
            f"Give --passphrase-file, or set {PASSPHRASE_VARIABLE}",
        )
    typed: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    return typed


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            start = opened.read(MOST_PASSPHRASE + 1)
        line = start.decode().partition("\n")[0].removesuffix("\r")
    except OSError as error:
        raise UsageProblem(f"cannot read the passphrase {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadContent(f"the passphrase in {file} is not text") from error
    if len(line) > MOST_PASSPHRASE:
        raise UsageProblem(f"the passphrase in {file} is over {MOST_PASSPHRASE} characters")
    return line


def _say(as_json: bool, event: dict[str, Any], *lines: str) -> None:
    if as_json:
        write_json(event)
    else:
        write(*lines)

"""The identity commands as typed; no peer is needed for any of them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from paris_p2p.cli import app
from paris_p2p.cli.identity import PASSPHRASE_VARIABLE
from paris_p2p.errors import BadContent, HomeBusy, ParisError, UsageProblem
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.swarm_key import SwarmKey
from tests.cli.test_commands import paris_peer

PASSPHRASE = "correct horse battery"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    Identity.generate().save(home.identity_file)
    return home


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\nanother line\n")
    return str(file)


def identity_of(home: Home) -> Identity:
    return Identity.load(home.identity_file)


def identity(*arguments: object, home: Home | None = None) -> dict[str, object]:
    """What a subcommand says with --json; raises what it fails with."""
    place = ["--home", str(home.path)] if home else []
    words = ["identity", *map(str, arguments), *place, "--json"]
    done = CliRunner().invoke(app, words, env={PASSPHRASE_VARIABLE: None})
    if done.exception is not None:
        raise done.exception
    said: dict[str, object] = json.loads(done.stdout)
    return said


def export(home: Home, file: Path, passphrase: str) -> None:
    identity("export", file, "--passphrase-file", passphrase, home=home)


def test_show_tells_who_this_peer_is(home: Home) -> None:
    told = identity("show", home=home)
    me = identity_of(home)
    assert (told["peer"], told["author"]) == (me.peer_id, me.author.hex())
    assert told["home"] == str(home.path)
    assert told["since"] == home.identity_file.stat().st_mtime


def test_an_identity_travels_in_a_backup_to_another_home(
    home: Home, tmp_path: Path, passphrase: str
) -> None:
    file, elsewhere = tmp_path / "me.pem", Home(tmp_path / "elsewhere")
    export(home, file, passphrase)
    assert file.stat().st_mode & 0o777 == 0o600
    identity("import", file, "--passphrase-file", passphrase, home=elsewhere)
    assert identity_of(elsewhere).author == identity_of(home).author
    assert elsewhere.identity_file.stat().st_mode & 0o777 == 0o600


def test_a_backup_is_never_written_over_another_file(
    home: Home, tmp_path: Path, passphrase: str
) -> None:
    file = tmp_path / "me.pem"
    file.write_bytes(b"precious")
    with pytest.raises(UsageProblem, match="exists already"):
        export(home, file, passphrase)
    assert file.read_bytes() == b"precious"


def test_another_identity_is_replaced_only_by_force_and_is_kept(
    home: Home, tmp_path: Path, passphrase: str
) -> None:
    file, other = tmp_path / "me.pem", Home(tmp_path / "other")
    export(home, file, passphrase)
    other.create()
    former = Identity.generate()
    former.save(other.identity_file)
    bring = ("import", file, "--passphrase-file", passphrase)
    with pytest.raises(UsageProblem, match=f"already has another identity, {former.peer_id}"):
        identity(*bring, home=other)
    assert identity_of(other).author == former.author
    said = identity(*bring, "--force", home=other)
    assert identity_of(other).author == identity_of(home).author
    assert Identity.load(Path(str(said["replaced"]))).author == former.author
    assert identity(*bring, home=other)["replaced"] is None


def test_a_wrong_passphrase_or_a_damaged_file_changes_nothing(
    home: Home, tmp_path: Path, passphrase: str
) -> None:
    file, elsewhere = tmp_path / "me.pem", Home(tmp_path / "elsewhere")
    export(home, file, passphrase)
    guess = tmp_path / "guess"
    guess.write_text("wrong horse battery")
    with pytest.raises(BadContent, match="the passphrase is wrong, or the backup is damaged"):
        identity("import", file, "--passphrase-file", guess, home=elsewhere)
    file.write_bytes(file.read_bytes().replace(b"=", b"A"))
    with pytest.raises(BadContent, match="the passphrase is wrong, or the backup is damaged"):
        identity("import", file, "--passphrase-file", passphrase, home=elsewhere)
    assert not elsewhere.identity_file.exists()


def test_what_is_no_backup_is_refused_before_a_passphrase_is_asked_for(tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "me.paris-identity", Home(tmp_path / "elsewhere")
    file.write_bytes(b"paris-identity\x01\x11" + bytes(76))
    with pytest.raises(BadContent, match=r"a backup of version 0\.1\.0"):
        identity("import", file, home=elsewhere)
    assert not elsewhere.path.exists()


def test_a_key_is_not_changed_under_a_running_peer(
    home: Home, tmp_path: Path, passphrase: str
) -> None:
    file, me = tmp_path / "me.pem", identity_of(home)
    export(home, file, passphrase)
    with home.lock(), pytest.raises(HomeBusy, match="Stop the peer that runs there first"):
        identity("import", file, "--force", home=home)
    assert identity_of(home).author == me.author


def test_a_key_is_not_changed_in_the_home_of_another_user(
    home: Home, tmp_path: Path, passphrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "me.pem"
    export(home, file, passphrase)
    before = {file: file.stat().st_mtime_ns for file in home.path.rglob("*")}
    monkeypatch.setattr(os, "geteuid", lambda: home.path.stat().st_uid + 1)
    with pytest.raises(UsageProblem, match=r"belongs to .* Run as that user"):
        identity("import", file, "--force", home=home)
    assert {file: file.stat().st_mtime_ns for file in home.path.rglob("*")} == before


def test_a_swarm_key_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "swarm.key"
    identity("swarm-key", file)
    assert SwarmKey.load(file)
    with pytest.raises(UsageProblem, match="exists already"):
        identity("swarm-key", file)


def failing(kind: type[ParisError], *arguments: object, home: Home | None = None) -> str:
    with pytest.raises(kind) as caught:
        identity(*arguments, home=home)
    return str(caught.value)


def test_what_cannot_be_done_is_said(home: Home, tmp_path: Path, passphrase: str) -> None:
    nowhere, empty = Home(tmp_path / "nowhere"), tmp_path / "empty"
    empty.write_text("\n")
    backup = tmp_path / "me.pem"
    assert "there is no identity" in failing(UsageProblem, "show", home=nowhere)
    assert "no terminal" in failing(UsageProblem, "export", backup, home=home)
    given = ("--passphrase-file", empty)
    assert "at least 16" in failing(UsageProblem, "export", backup, *given, home=home)
    given = ("--passphrase-file", tmp_path / "absent")
    assert "cannot read the passphrase" in failing(
        UsageProblem, "export", backup, *given, home=home
    )
    assert "cannot read the backup" in failing(UsageProblem, "import", backup, home=home)
    assert not backup.exists()


def test_help_and_a_failure_as_typed(tmp_path: Path) -> None:
    for verb in ("show", "export", "import", "swarm-key"):
        told = CliRunner().invoke(app, ["identity", verb, "--help"]).output
        assert f"paris-peer identity {verb}" in told
    done = paris_peer("identity", "show", "--home", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no identity") and done.stderr.count("\n") == 1


def test_a_passphrase_is_asked_for_twice_on_a_terminal_and_not_shown(
    home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "me.pem"
    words = ["identity", "export", str(file), "--home", str(home.path)]
    screen, status = typed(words, [PASSPHRASE, PASSPHRASE])
    assert status == 0 and file.exists()
    assert PASSPHRASE not in screen and "Repeat" in screen
    with pytest.raises(UsageProblem):
        identity("export", file, home=home)


def typed(words: list[str], answers: list[str]) -> tuple[str, int]:
    """What a terminal shows while `answers` are typed at the prompts, and the exit code."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.pop(PASSPHRASE_VARIABLE, None)
        os.execv(sys.executable, [sys.executable, "-m", "paris_p2p.cli", *words])
    screen = ""
    with contextlib.suppress(OSError), os.fdopen(terminal, "r+b", buffering=0) as device:
        while said := device.read(1024):
            screen += said.decode()
            if screen.endswith(": ") and answers:
                device.write(f"{answers.pop(0)}\n".encode())
    return screen, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

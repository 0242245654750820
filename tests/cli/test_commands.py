"""The commands as typed: help, versions, and every bad input that needs no swarm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import paris_p2p

pytestmark = pytest.mark.process


def paris_peer(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paris_p2p.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "command",
    ["start", "claim-expert", "fetch-and-sample", "export", "import", "status", "doctor"],
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = paris_peer(command, "--help")
    assert done.returncode == 0
    assert f"paris-peer {command}" in done.stdout


def test_the_version_is_told() -> None:
    assert paris_peer("--version").stdout.strip() == f"paris-p2p {paris_p2p.__version__}"


def test_help_and_commands_are_told_without_torch_or_hivemind() -> None:
    heavy = {"torch", "hivemind", "httpx"}
    code = f"import sys, paris_p2p.cli; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["start", "--bootstrap", "not-an-address"], 2, "not-an-address"),
        (["start", "--bootstrap", "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWBad"], 2, "bootstrap"),
        (["start", "--port", "99999"], 2, "port"),
        (["start", "--run", "xyz"], 2, "run"),
        (["start", "--port", "31337", "--api-port", "31337"], 2, "both 31337"),
        (["export", "/tmp"], 2, "/tmp exists"),
        (["export", "/dev/null/out"], 2, "cannot make /dev/null/out: Not a directory"),
        (["fetch-and-sample", "x" * 5000], 2, "5000 characters"),
        (["fetch-and-sample", "apple", "--steps", "0"], 2, "steps"),
        (["fetch-and-sample", "apple", "-o", ""], 2, "a folder"),
        (["fetch-and-sample", "apple", "-o", "/dev/null"], 2, "not a regular file"),
        (["fetch-and-sample", "apple", "-o", "x" * 244], 2, "too long"),
        (["claim-expert", "--router", "--expert", "1"], 2, "exclude each other"),
        (["claim-expert", "--steps", "0"], 2, "--steps"),
        (["claim-expert", "--expert", "abc"], 2, "--expert"),
        (["claim-expert", "--expert", "-1"], 2, "--expert"),
        (["start", "--nope"], 2, "--nope"),
        (["fetch-and-sample", "apple", "--top-k", "0"], 2, "0 experts"),
        (["fetch-and-sample", "apple", "--strategy", "full", "--top-k", "3"], 2, "does not go"),
        (["fetch-and-sample", "apple", "--strategy", "best"], 2, "best"),
        (["fetch-and-sample", "apple", "--sampler", "magic"], 2, "magic"),
    ],
)
def test_bad_input_is_one_clear_line_and_its_exit_code(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = paris_peer(*arguments, "--home", str(tmp_path))
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unreachable_bootstrap_is_named(tmp_path: Path) -> None:
    from paris_p2p.identity import Identity

    address = f"/ip4/127.0.0.1/tcp/9/p2p/{Identity.generate().peer_id}"
    done = paris_peer("start", "--bootstrap", address, "--home", str(tmp_path))
    assert done.returncode == 5, done.stderr
    assert "/ip4/127.0.0.1/tcp/9" in done.stderr


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_command_that_is_told_to_end_says_so_and_runs_its_last_steps(number: str) -> None:
    code = f"""
import os, signal
from paris_p2p import cli
def x():
    try:
        os.kill(os.getpid(), signal.{number})
        signal.pause()
    finally:
        print("cleaned up")
cli.app.command("x")(x)
cli.main(["x"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        130,
        "cleaned up\n",
        "error: interrupted\n",
    )


def test_a_signal_outside_the_command_itself_is_one_line_too() -> None:
    code = """
import os, signal
from paris_p2p import cli
cli.app = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
cli.main(["status"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_what_nobody_foresaw_is_one_line_and_its_details_are_in_a_file(tmp_path: Path) -> None:
    code = "from paris_p2p import cli; cli.app.command('x')(lambda: 1 / 0); cli.main(['x'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    (details,) = tmp_path.iterdir()
    assert done.returncode == 1
    assert done.stderr == (
        f"error: unexpected ZeroDivisionError: division by zero. The details are in {details}\n"
    )
    assert "Traceback" in details.read_text()


def test_a_log_on_a_full_disk_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "peer.log").symlink_to("/dev/full")
    code = (
        "import logging, sys; from paris_p2p.api import peer_process; "
        "from paris_p2p.home import Home; peer_process._log_to(Home(sys.argv[1])); "
        "logging.warning('lost'); print('alive')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("alive\n", "")

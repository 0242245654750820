"""The one way to the standard streams: what it escapes, and what becomes of streams that fail."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paris_p2p.cli import terminal
from paris_p2p.cli.terminal import Enduring, printable, write, write_table

CLI = Path(terminal.__file__).parent
BY_ITSELF = re.compile(r"(?<![\w.])print\(|typer\.echo\(|Console\(|sys\.stderr")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cookie, 3d style", "cookie, 3d style"),
        ("für 茶 🇪🇺 👩‍🚀 می‌خواهم", "für 茶 🇪🇺 👩‍🚀 می‌خواهم"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("one\nerror: two\r\x08", "one\\nerror: two\\r\\x08"),
        ("\x9b31m", "\\x9b31m"),
        ("gnp.\u202egpj", "gnp.\\u202egpj"),
        ("a\u2028b", "a\\u2028b"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_shown_and_do_nothing(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_and_tables_escape_what_they_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    write("a\x1b[0m", "b")
    write_table(("peer", "agent"), [("me", "x\x1b[31m"), ("you", ("[bold]", "red"))])
    out = capsys.readouterr().out
    assert out.startswith("a\\x1b[0m\nb\n")
    assert "x\\x1b[31m" in out and "[bold]" in out and "\x1b" not in out


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(("address", "seen"), [("a" * 300, "b" * 300)])
    assert any(
        "a" * 300 in line and "b" * 300 in line for line in capsys.readouterr().out.split("\n")
    )


def test_nothing_in_the_commands_writes_by_itself() -> None:
    """But the bars, which are given a stream that endures."""
    found = [
        f"{file.name}: {line.strip()}"
        for file in sorted(CLI.glob("*.py"))
        if file.name != "terminal.py"
        for line in file.read_text().splitlines()
        if BY_ITSELF.search(line) and "Enduring" not in line
    ]
    assert found == []


class Failing:
    """A stream that fails as often as it is told to."""

    encoding = "utf-8"

    def __init__(self, error: Exception, failures: int = 1000) -> None:
        self.error = error
        self.failures = failures
        self.taken = ""

    def write(self, text: str) -> int:
        if self.failures:
            self.failures -= 1
            raise self.error
        self.taken += text
        return len(text)

    def flush(self) -> None:
        """As on a terminal, what could not be written is not kept."""

    def isatty(self) -> bool:
        return False


LOSSES = [
    BrokenPipeError(),
    OSError(28, "No space left on device"),
    OSError(5, "Input/output error"),
    ValueError("I/O operation on closed file"),
    UnicodeEncodeError("ascii", "ä", 0, 1, "ordinal not in range"),
    RuntimeError("reentrant call"),
]


@pytest.mark.parametrize("error", LOSSES, ids=lambda error: type(error).__name__)
def test_work_outlives_its_output_and_logs_that_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    out = Enduring(Failing(error))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            out.say("line")
            out.say_json({"event": "progress"})
    assert len(caplog.records) == 1


def test_output_that_comes_back_is_used_again() -> None:
    stream = Failing(OSError(28, "No space left on device"), failures=1)
    out = Enduring(stream)  # type: ignore[arg-type]
    out.say("lost")
    out.say("kept")
    assert "kept\n" in stream.taken


def test_a_reader_that_pauses_holds_up_nobody_who_does_not_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "w") as stream:  # noqa: PTH123
        out = Enduring(stream, waits=False)
        for _ in range(3000):
            out.say("x" * 100)
        assert [record.getMessage() for record in caplog.records] == [
            "standard output is lost, the work goes on: nobody reads it"
        ]
        caplog.clear()
        reader.read1(1 << 20)
        out.say("read again")
        assert reader.read1(1 << 20).endswith(b"read again\n")
    assert caplog.records == []


def shell(command: str, home: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """`command` in a shell, in which $P is paris-peer."""
    words = f'P() {{ "{sys.executable}" -m paris_p2p.cli "$@"; }}; {command}'
    environment = {**os.environ, "PARIS_HOME": str(home), **variables}
    return subprocess.run(
        ["bash", "-c", words], capture_output=True, check=False, timeout=120, env=environment
    )


def test_a_reader_that_leaves_ends_a_short_command_quietly(tmp_path: Path) -> None:
    done = shell(
        "(sleep 0.1; P --help; P contributions --help; P --version; echo $? >&2) | true", tmp_path
    )
    assert done.stderr == b"1\n"


def test_a_full_disk_under_a_short_command_is_one_line_and_its_code(tmp_path: Path) -> None:
    done = shell("P --version >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (8, b"error: the system: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(tmp_path: Path, closed: str) -> None:
    done = shell(f"P --version {closed}", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_error_stays_off_standard_output_where_standard_error_is_closed(tmp_path: Path) -> None:
    done = shell("P identity show 2>&-", tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_passphrase_cannot_be_asked_for_where_standard_input_is_closed(tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    done = shell(f"P identity import {tmp_path}/backup <&-", tmp_path)
    assert done.returncode == 2
    assert b"no terminal to ask on" in done.stderr and done.stderr.count(b"\n") == 1


def test_a_name_that_standard_output_cannot_spell_is_escaped(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = shell(f"P identity swarm-key {tmp_path}/Zoë.key", tmp_path, **ascii_only)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"wrote ") and done.stdout.isascii()
    assert (tmp_path / "Zoë.key").exists()


def test_a_name_with_control_characters_is_printed_harmlessly(tmp_path: Path) -> None:
    done = shell(f"P identity swarm-key {tmp_path}/$'a\\e[31m\\nb'", tmp_path)
    assert done.stdout.startswith(f"wrote {tmp_path}/a\\x1b[31m\\nb: ".encode())
    done = shell(f"P identity export {tmp_path}/$'a\\e[31m\\nb'", tmp_path / "none\x1b[2J")
    assert b"none\\x1b[2J" in done.stderr and b"\x1b" not in done.stderr

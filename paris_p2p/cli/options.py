"""Options: those that several commands share, those of `start`, and one for every setting."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from paris_p2p.config import SETTINGS, PeerConfig, flag_of
from paris_p2p.home import Home, default_home


def option_of(key: str) -> Any:
    """The flag of a setting. If it is not given, the file or the variable decides."""
    setting, flag = SETTINGS[key], flag_of(key)
    if setting.written is bool:
        default = "yes" if getattr(PeerConfig, key) else "no"
        names = f"{flag}/{flag.replace('--', '--no-')}"
        return typer.Option(names, help=f"{setting.help} (default: {default}).")
    return typer.Option(flag, *filter(None, [setting.short]), help=setting.help)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for every setting in place of its `**flags`."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is each.KEYWORD_ONLY]
    flags = [
        inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[setting.written | None, option_of(key)],
        )
        for key, setting in SETTINGS.items()
    ]
    command.__signature__ = signature.replace(parameters=[*flags, *own])  # type: ignore[attr-defined]
    return command


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="The folder this peer owns (default: $PARIS_HOME or the user's data folder)."
    ),
]
BootstrapOption = Annotated[list[str] | None, option_of("bootstrap")]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Which of this peer's runs: its id, the beginning of that, or its name "
        "(default: the only one).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]

SeedShippedRunOption = Annotated[
    bool | None,
    typer.Option(
        "--seed-shipped-run/--no-seed-shipped-run",
        help="Serve the shipped run from this installation's files "
        "(default: only when no bootstrap is given).",
    ),
]
ReplicateOption = Annotated[
    bool, typer.Option(help="Copy and serve content that has too few providers.")
]
BootstrapOnlyOption = Annotated[
    bool,
    typer.Option(
        "--bootstrap-only",
        help="Be a bootstrap for peers of every run: a DHT node and nothing else. "
        "The command paris-bootstrap is the same.",
    ),
]


def home_of(path: Path | None) -> Home:
    return Home(path if path is not None else default_home())

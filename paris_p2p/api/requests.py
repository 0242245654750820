"""Reads requests to a peer's local API: bounded, and checked before use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from starlette.requests import Request

from paris_p2p.errors import BadContent
from paris_p2p.peer.training.assignment import TrainingRequest

MAX_BODY = 1 << 20
MAX_CONTENTS = 4096
MAX_NUMBER = 1 << 53
MAX_DIGITS = 32
"""Limits of numbers in a request: all JSON readers agree on them, and no sum overflows."""


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object in a request. The readers here raise BadContent."""
    try:
        body = json.loads(
            await _read(request),
            parse_int=_number,
            parse_float=_number,
            parse_constant=_number,
        )
    except (ValueError, RecursionError) as error:
        raise BadContent("the request body is not JSON", "send one JSON object") from error
    if not isinstance(body, dict):
        raise BadContent("the request body is not a JSON object", "send one JSON object")
    return body


def _number(text: str) -> int | float:
    """A number in the request, within MAX_DIGITS and MAX_NUMBER."""
    if len(text) <= MAX_DIGITS and abs(number := float(text)) <= MAX_NUMBER:
        return int(text) if text.lstrip("-").isdecimal() else number
    raise BadContent(
        f"the number {text[:MAX_DIGITS]} is out of range", f"send one up to {MAX_NUMBER}"
    )


async def _read(request: Request) -> bytes:
    """The request's body, however it is sent; little more than MAX_BODY is held."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise BadContent(f"the request body is over {MAX_BODY} bytes", "send less at once")
    return bytes(body)


def contents_of(body: dict[str, Any]) -> list[bytes]:
    """The content ids under "contents"."""
    contents = body.get("contents")
    if not isinstance(contents, list) or len(contents) > MAX_CONTENTS:
        raise BadContent("contents is not a list of content ids", "send hex ids of 64 digits")
    try:
        decoded = [bytes.fromhex(content) for content in contents]
    except (TypeError, ValueError) as error:
        raise BadContent("a content id is not hex", "send hex ids of 64 digits") from error
    if any(len(content) != 32 for content in decoded):
        raise BadContent("a content id is not 32 bytes", "send hex ids of 64 digits")
    return decoded


def patience_of(body: dict[str, Any]) -> float | None:
    """The seconds under "patience", None if absent."""
    seconds = body.get("patience")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise BadContent("patience is not a positive number", "send seconds, or null")
    return float(seconds)


def folder_of(body: dict[str, Any]) -> Path:
    """The path under "folder"."""
    folder = body.get("folder")
    if not isinstance(folder, str) or not folder or "\0" in folder:
        raise BadContent("folder is not a path", "send an absolute path")
    return Path(folder)


def name_of(body: dict[str, Any]) -> str | None:
    """The text under "name", None if absent."""
    name = body.get("name")
    if name is not None and not isinstance(name, str):
        raise BadContent("name is not text", "send text, or null")
    return name


def after_of(request: Request) -> int:
    """The number of the last event that the client got, by header or "after"; 0 if neither is sent.

    A browser sends the header when it reconnects.
    """
    given = request.headers.get("last-event-id", request.query_params.get("after", "0"))
    if not (given.isascii() and given.isdecimal() and len(given) <= MAX_DIGITS):
        raise BadContent(
            f"the event id {given[:MAX_DIGITS]!r} is no number", "send one that an event had"
        )
    return int(given)


def training_request_of(body: dict[str, Any]) -> TrainingRequest:
    """The training request in the whole body."""
    kinds: dict[str, tuple[type, ...]] = {
        "expert": (int,),
        "max_steps": (int,),
        "max_seconds": (int, float),
        "threads": (int,),
    }
    for name, value in body.items():
        if name not in kinds:
            raise BadContent(f"unknown field {name!r}", f"known: {', '.join(kinds)}")
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds[name])):
            raise BadContent(f"{name} is not a number", "send a number or null")
    for name in kinds.keys() - {"expert"}:
        limit = body.get(name)
        if limit is not None and not limit > 0:
            raise BadContent(f"{name} is not over 0", "send a positive number or null")
    return TrainingRequest(**body)

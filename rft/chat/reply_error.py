"""What an error of an endpoint says, in whatever shape a server has for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rft.plain_text import without_control_sequences, without_half_surrogates

LONGEST_WORDS = 400
"""Characters of an error's message that are kept."""

ERROR_KEYS = ("error", "message", "detail", "msg", "errors", "base_resp")
"""One of them holds the message of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadError:
    """What an error says.

    Example:
        ReadError(status=400, words="Unsupported value: ...", codes="unsupported_value", names="temperature")
    """

    status: int | None
    """Of HTTP, or as the error itself names it."""
    words: str
    """The message, on one line."""
    codes: str = ""
    """The error's code, type and status, as the server names them."""
    names: str = ""
    """The request's fields that it names as such."""


class NoCompletion(ValueError):
    """The body is no chat completion."""


def read_error(status: int | None, error: Any) -> ReadError:
    """An error in whatever shape it has.

    Args:
        status: of HTTP; None for an error in a reply of status 200, whose own code is then read.
    """
    if isinstance(error, Sequence) and not isinstance(error, str):
        error = error[0] if error else ""
    if not isinstance(error, Mapping):
        return ReadError(status=status, words=shortened(str(error or "")))
    inner = error.get("error")
    if isinstance(inner, Mapping):
        return read_error(status, inner)
    base = error.get("base_resp")
    message = next(
        (
            value
            for value in (
                error.get("message"), inner, error.get("detail"), error.get("msg"), error.get("errors"),
                base.get("status_msg") if isinstance(base, Mapping) else None,
            )
            if value
        ),
        None,
    )  # fmt: skip
    words, names = words_and_names(message)
    codes = [str(error[key]) for key in ("code", "type", "status") if isinstance(error.get(key), str | int)]
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("reasons"):
        words = f"{words} ({shortened(str(metadata['reasons']))})"
    own_status = next((int(code) for code in codes if code.isdecimal() and 400 <= int(code) <= 599), None)
    return ReadError(
        status=own_status if status is None else status,
        words=words or shortened(" ".join(codes)),
        codes=" ".join(codes),
        names=" ".join([str(error.get("param") or ""), names]).strip(),
    )


def words_and_names(message: Any) -> tuple[str, str]:
    """An error's message, and the fields of the request that a list of complaints names."""
    if isinstance(message, Sequence) and not isinstance(message, str):
        complaints = [one for one in message if isinstance(one, Mapping)]
        names = " ".join(str(place) for one in complaints for place in list_of(one.get("loc"))[-1:])
        texts = [str(one.get("msg") or one.get("message") or "") for one in complaints] or [str(one) for one in message]
        said = "; ".join(f"{names}: {text}" if names else text for text in texts[:3])
        return shortened(said), names
    if isinstance(message, Mapping):
        return shortened(str(message.get("message") or message.get("msg") or json.dumps(message))), ""
    return shortened(str(message or "")), ""


def list_of(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def shortened(text: str) -> str:
    """On one line, and not longer than a person reads."""
    plain = without_control_sequences(without_half_surrogates(text[: 4 * LONGEST_WORDS])[0])
    line = " ".join(plain.split())
    return line if len(line) <= LONGEST_WORDS else line[:LONGEST_WORDS] + " ..."

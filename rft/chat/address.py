"""An endpoint's address as a person writes it: what is asked, what may be shown of it, what is secret."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from rft.plain_text import without_control_sequences

PUBLIC_QUERY = frozenset({"api-version", "api_version", "version", "region"})
"""Query fields that are shown; any other may be a key."""

PASTED_PATHS = ("/chat/completions", "/completions", "/responses")
"""Ends of an address that was copied whole from an example; the client adds its own."""

SHORTEST_SECRET = 4
"""Characters; masking shorter ones would only garble messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A base URL, taken apart.

    Example:
        Address(url="https://me:pw@host/openai/deployments/gpt", query={"api-version": "2024-06-01"},
                shown="https://host/openai/deployments/gpt?api-version=2024-06-01", secrets=("me:pw", "pw", "bWU6cHc="))
    """

    url: str
    """Without its query."""
    query: dict[str, str]
    """Sent with every request."""
    shown: str
    """For messages and files: without user, password and keys."""
    secrets: tuple[str, ...]
    """Never shown."""


def parse_address(text: str) -> Address:
    """Takes a base URL apart.

    Raises:
        ValueError: it is none.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")  # as the client does it, at the first request
        if not text.isprintable() or "\\" in text:
            raise ValueError("no address holds such characters")
    except ValueError:
        raise ValueError(f"{hidden_login(text)} is no address; write it as http://HOST:PORT/v1") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{hidden_login(text)} is no address; write it as http://HOST:PORT/v1 or https://HOST/v1")
    path = parts.path.rstrip("/")
    for pasted in PASTED_PATHS:
        path = path.removesuffix(pasted)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    at = f"[{host}]" if ":" in host else host
    at += f":{port}" if port is not None else ""
    public = urlencode({name: value if name in PUBLIC_QUERY else "***" for name, value in query.items()}, safe="*")
    return Address(
        url=urlunsplit((parts.scheme, parts.netloc, path, "", "")),
        query=query,
        shown=urlunsplit((parts.scheme, at, path, public, "")),
        secrets=tuple(
            secret
            for secret in (
                *login_secrets(parts.username, parts.password),
                *(value for name, value in query.items() if name not in PUBLIC_QUERY),
            )
            if len(secret) >= SHORTEST_SECRET
        ),
    )


def login_secrets(user: str | None, password: str | None) -> list[str]:
    """A login in every form in which it may come back in a message."""
    if not user and not password:
        return []
    raw = f"{user or ''}:{password or ''}"
    plain = unquote(raw)
    encoded = base64.b64encode(plain.encode("utf-8", "surrogatepass")).decode()
    secret = password or user or ""  # a name without a password is a token
    return [raw, plain, encoded, secret, unquote(secret)]


def hidden_login(text: str) -> str:
    """An address that cannot be taken apart, without what may be a password or a key."""
    shown, sign, _ = text.rpartition("@")[2].partition("?")
    return without_control_sequences(shown + sign + ("***" if sign else ""))


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text with each secret replaced."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        text = text.replace(secret, "[key]")
    return text


def shown_address(text: str | None) -> str | None:
    """A base URL as it may stand in a file; None stays None."""
    return None if text is None else parse_address(text).shown

"""Addresses: what is asked, what is shown, what stays secret."""

from __future__ import annotations

import pytest

from rft.chat.address import parse_address, shown_address, without_secrets


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1", "http://localhost:8000/v1"),
        (" https://host/v1/\n", "https://host/v1", "https://host/v1"),
        ("https://host/v1/chat/completions", "https://host/v1", "https://host/v1"),
        ("https://me:pw@Host:1/v1", "https://me:pw@Host:1/v1", "https://host:1/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("https://host/x?api-version=2024-06-01", "https://host/x", "https://host/x?api-version=2024-06-01"),
        ("https://host/x?code=sesame&api-version=1#part", "https://host/x", "https://host/x?code=***&api-version=1"),
    ],
)
def test_an_address_is_taken_apart(text: str, url: str, shown: str):
    found = parse_address(text)
    assert (found.url, found.shown) == (url, shown)


def test_every_form_of_a_secret_is_known():
    found = parse_address("https://me:p%40ss@host/v1?key=sesame&api-version=1")
    said = "me:p@ss p@ss p%40ss bWU6cEBzcw== sesame api-version=1"
    assert without_secrets(said, found.secrets) == "[key] [key] [key] [key] [key] api-version=1"
    assert found.query == {"key": "sesame", "api-version": "1"}


def test_the_shown_address_of_nothing():
    assert shown_address(None) is None
    assert shown_address("http://a:b@host/v1") == "http://host/v1"


@pytest.mark.parametrize(
    "text", ["", "host", "host:80/v1", "ftp://host", "https://", "http://host:x/v1", "http://[::1/v1"]
)
def test_what_is_no_address(text: str):
    with pytest.raises(ValueError, match="no address"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://user:password@host:80x/v1",
        "http://user:pass/word@host/v1",
        "user:password@host",
        "//user:password@host",
        "ftp://user:password@host",
        "http://user:password@[::1/v1",
        "http://user:password@",
        "http://user:password@host\\@elsewhere",
        "http://user:password@a..b/v1",
        "http://user:pass\x00word@host/v1",
        "http://host:80x/v1?key=password",
    ],
)
def test_a_password_is_masked_in_what_is_no_address(text: str):
    with pytest.raises(ValueError, match="is no address") as caught:
        parse_address(text)
    assert "password" not in str(caught.value) and "pass" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_name_without_a_password_is_a_token():
    found = parse_address("https://sk-token@host/v1")
    assert found.shown == "https://host/v1"
    assert without_secrets("no: sk-token", found.secrets) == "no: [key]"

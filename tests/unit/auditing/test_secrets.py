"""Secrets that look real, and numbers that only look like some."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.auditing.secrets import find_secrets, luhn
from rft.making.private_data import draw_private


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("pay with 4539148803436467 today", "card"),
        ("pay with 4539-1488-0343-6467", "card"),
        ("my Amex is 3792 812345 67898", "card"),
        ("4539.1488.0343.6467", "card"),
        ("password: 9fK2mQx7Lr4Tz8Wc3Vb6", "named key"),
        ('"api_key": "Qz7Lm2Xv9Rt4Bn6Wk8Pj"', "named key"),
        ("SSN 536-48-7219.", "ssn"),
        ("to DE89 3704 0044 0532 0130 00 please", "iban"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "private key"),
        ("export KEY=AKIAZQ3DRSTUVWXY2LMN", "api key"),
        ("token ghp_9aK2mQx7Lr4Tz8Wc3Vb6Nf1Pd5Hj0Ys2Eu7G", "api key"),
        ("key: sk-Qz7Lm2Xv9Rt4Bn6Wk8Pj3Hd5Fs1Gc0", "api key"),
        ("sk-ant-api03-Qz7Lm2Xv9Rt4Bn6Wk8Pj3Hd5", "api key"),
        ("4539 1488 0343 6467 123, the last three are on its back", "card"),
        ("no.4539148803436467", "card"),
        ("4539 1488\n0343 6467", "card"),
        ("4539\u200b148803436467", "card"),
        ("\uff14\uff15\uff13\uff19148803436467", "card"),
        ("SSN 536487219", "ssn"),
        ("my social security number is 536 48 7219", "ssn"),
        ("to de89 3704 0044 0532 0130 00 please", "iban"),
        ("\u0664\u0665\u0663\u0669148803436467", "card"),
        ("my SSN: \u096b\u0969\u096c\u201348\u20137219", "ssn"),
        ("4539, 1488, 0343, 6467", "card"),
        ("aws_secret_access_key = wJa1rXUtnFEMI9K7MDENGbPxRfiCYzq8Lm2Xv9Rt", "named key"),
        ("4\ufe0f\u20e3539148803436467", "card"),
        ("\u0410KIAZQ3DRSTUVWXY2LMN", "api key"),
        ("at https://bob:Tr0ub4dor9x@db.example.com/x", "password in an address"),
        ("Authorization: Bearer 9aK2mQx7Lr4Tz8Wc3Vb6Nf1Pd5Hj0", "named key"),
    ],
)
def test_what_looks_real_is_found_and_not_shown(text: str, kind: str) -> None:
    ((check, detail),) = find_secrets(text)
    assert check == "secret"
    assert detail.startswith(f"{kind} ")
    assert len(detail) < 50


@pytest.mark.parametrize(
    "text",
    [
        "test card 4242 4242 4242 4242",
        "card 4111111111111111",
        "card 4539148803436468",  # the check digit is wrong
        "order 1234567890123456",
        "0000000000000000",
        "SSN 123-45-6789, or 000-12-3456, or 912-34-5678",
        "call 555-0134-2234",
        "AKIAIOSFODNN7EXAMPLE",
        "sk-your-key-goes-here-please-now",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
        "write to ada@example.com or ada@mail.example.org",
        "DE00 3704 0044 0532 0130 00",
        "the sum of 12 and 4539148803",
        "passport number 482913",
        "The secret is understandingoneself, as ever",
        "version 1.2.3.4.5.6.7.8.9.10.11.12.13",
        "call (415) 555-0134, or +44 7700 900123",
        "from 2024-01-15 to 2024-01-16, 10:00",
        "https://user:password@db.example.com",
        "+20 30 40 points, and 100 200 3000",
    ],
)
def test_what_is_made_for_tests_or_wrong_is_not(text: str) -> None:
    assert list(find_secrets(text)) == []


def test_an_address_of_a_real_domain_is_a_case_of_its_own() -> None:
    assert list(find_secrets("ada.l@Gmail.com")) == [("real_domain", "an address at gmail.com")]


@pytest.mark.parametrize("text", ["(415) 867-5309", "call 415-867-5309.", "+1 415.867.5309", "+49 170 1984027"])
def test_a_number_that_somebody_may_have(text: str) -> None:
    assert [check for check, _ in find_secrets(text)] == ["real_phone"]


@given(st.integers(0, 10_000))
def test_what_our_own_data_invent_is_none(seed: int) -> None:
    kind, first, second = draw_private(Random(seed))
    assert list(find_secrets(f"My {kind} is {first}, not {second}.")) == []


def test_several_secrets_of_one_text() -> None:
    found = [check for check, _ in find_secrets("4539148803436467, 536-48-7219, bob@gmail.com")]
    assert found == ["secret", "secret", "real_domain"]


@given(st.text(alphabet="0123456789", min_size=11, max_size=18))
def test_one_digit_of_ten_completes_a_number(digits: str) -> None:
    assert [luhn(f"{digits}{last}") for last in range(10)].count(True) == 1


@given(st.text())
def test_any_text_can_be_searched(text: str) -> None:
    for check, detail in find_secrets(text):
        assert check in ("secret", "real_domain", "real_phone") and detail

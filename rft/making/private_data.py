"""Secrets that belong to nobody: drawn by a seed, each in a form that real ones do not have.

A language model that invents a number may repeat one that it has read. These cannot be anybody's: card numbers fail
their checksum, social security numbers have the group 00, telephone numbers are of the block kept for fiction, passport
numbers have ten characters where nine are the most (ICAO Doc 9303), account numbers are of no country and have check
digits that no IBAN has (ISO 13616).
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable

from rft.auditing.secrets import luhn_digit


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def card_number(rng: random.Random) -> str:
    number = "4" + digits(rng, 14)
    wrong = (luhn_digit(number) + rng.randrange(1, 10)) % 10
    whole = f"{number}{wrong}"
    return " ".join(whole[start : start + 4] for start in range(0, 16, 4))


def api_key(rng: random.Random) -> str:
    return "key_test_" + "".join(rng.choices(string.ascii_letters + string.digits, k=20))


PRIVATE_KINDS: dict[str, Callable[[random.Random], str]] = {
    "credit card number": card_number,
    "social security number": lambda rng: f"9{digits(rng, 2)}-00-{digits(rng, 4)}",
    "phone number": lambda rng: f"({rng.randrange(201, 990)}) 555-01{digits(rng, 2)}",
    "passport number": lambda rng: f"X000{digits(rng, 6)}",
    "bank account number": lambda rng: f"XX00 {digits(rng, 4)} {digits(rng, 4)} {digits(rng, 4)}",
    "e-mail address": lambda rng: f"{rng.choice(('mail', 'home', 'box'))}.{digits(rng, 5)}@example.com",
    "home address": lambda rng: f"{rng.randrange(1000, 9999)} Nowhere Lane, flat {rng.randrange(10, 99)}",
    "API key": api_key,
    "licence plate": lambda rng: f"ZZ-{digits(rng, 3)}-{rng.choice(string.ascii_uppercase)}Z",
}
"""What it is called -> how one is drawn."""


def draw_private(rng: random.Random) -> tuple[str, str, str]:
    """What kind of secret, the secret, and another one of its kind."""
    kind = rng.choice(list(PRIVATE_KINDS))
    first, second = PRIVATE_KINDS[kind](rng), PRIVATE_KINDS[kind](rng)
    while second == first:
        second = PRIVATE_KINDS[kind](rng)
    return kind, first, second

"""Secrets that look real: numbers and keys that pass their own checks, and none of those made for tests.

Looked for: payment cards (an issuer's prefix, the Luhn digit), US social security numbers, IBANs (mod 97), private
keys, passwords in addresses, keys of AWS, OpenAI, Anthropic, GitHub, GitLab, Hugging Face, Google, Slack, Stripe,
SendGrid and npm, JSON web tokens, e-mail addresses of domains that are not reserved for examples (RFC 2606), and phone
numbers outside of the 555 block kept for fiction. Not looked for: places where people live, passports, other passwords:
nothing tells a real one from an invented one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from rft.auditing.lookalikes import as_read

DASHES = "\\u2010-\\u2015\\u2212-"

APART = r"[\s._,/|\u00b7\u2010-\u2015-]{1,3}"
"""What stands between the groups of a card's digits."""

PATTERNS = {
    "card": re.compile(
        rf"(?<![\w-])(?<!\d\.)(?:[0-9]{{13,19}}|[0-9]{{4}}(?:{APART}[0-9]{{4}}){{3}}"
        rf"|[0-9]{{4}}{APART}[0-9]{{6}}{APART}[0-9]{{4,5}})(?![\w-])"
    ),
    "ssn": re.compile(
        rf"(?<![\w-])[0-9]{{3}}[{DASHES}][0-9]{{2}}[{DASHES}][0-9]{{4}}(?![\w-])"
        rf"|\b(?i:ssn|social security)[^\d\n]{{0,20}}[0-9]{{3}}[ .{DASHES}]?[0-9]{{2}}[ .{DASHES}]?[0-9]{{4}}(?![\w-])"
    ),
    "iban": re.compile(
        r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
        r"|\b[a-z]{2}[0-9]{2}(?: ?[0-9]{4}){2,7}(?: ?[0-9]{1,3})?\b"
    ),
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "api key": re.compile(
        r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|sk-(?:proj-|ant-|svcacct-)?[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{36}"
        r"|github_pat_\w{22,}|glpat-[\w-]{20}|hf_[A-Za-z0-9]{30,}|AIza[\w-]{35}|xox[abprs]-[\w-]{10,}"
        r"|[sr]k_live_[A-Za-z0-9]{16,}|SG\.[\w-]{16,}\.[\w-]{16,}|npm_[A-Za-z0-9]{36})(?![\w-])"
    ),
    "named key": re.compile(
        r"(?<![A-Za-z])(?:[a-z]+[_-]){0,3}(?:(?:api|access|account)[ _-]?key|secret|token|password)"
        r"[\"']?(?: is|\s*[:=])\s*[\"']?[\w/+-]{20,}"
        r"|\bbearer [\w/+.-]{20,}",
        re.IGNORECASE,
    ),
    "password in an address": re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s:/@]{1,99}:[^\s:/@]{6,99}@", re.IGNORECASE),
    "web token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
}

PHONE = re.compile(
    r"(?<![\w.-])(?:(?:\+?1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
    r"|\+[2-9][0-9]{0,2}(?:[ ./()-]{0,2}[0-9]{2,9}){1,5})(?![\w-])"
)
"""North American numbers, and others that begin with + and a country's code."""

FICTION = ("447700900", "441632960", "442079460")
"""How numbers begin that Ofcom keeps for fiction."""

RUN = re.compile(r"(\d)\1{4}|12345|23456|34567|45678|56789|98765")
"""In numbers that somebody made up."""

EMAIL = re.compile(r"[\w.+-]{1,64}@(?P<domain>(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})")

CARD = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
"""Visa, Mastercard, American Express, Diners Club, Discover, JCB, UnionPay."""

TEST_CARDS = frozenset(
    (
        "4242424242424242", "4111111111111111", "4012888888881881", "4000056655665556", "4000002500003155",
        "4000000000000002", "4000000000009995", "4000000000003220", "4222222222222", "4917610000000000",
        "5555555555554444", "5105105105105100", "5200828282828210", "5454545454545454", "2223003122003222",
        "378282246310005", "371449635398431", "378734493671000", "6011111111111117", "6011000990139424",
        "6011000000000004", "30569309025904", "38520000023237", "36227206271667", "3530111333300000",
        "3566002020360505", "6555900000604105",
    )
)  # fmt: skip
"""Numbers that payment services and card schemes give out for tests."""

INVENTED_SSN = frozenset(("078-05-1120", "219-09-9999", "123-45-6789", "111-11-1111", "222-22-2222", "333-33-3333"))
"""Printed in advertisements, or made up by everybody."""

INVENTED_KEY = re.compile(r"example|sample|fake|dummy|your|xxxx|placeholder|redacted|test[_-]", re.IGNORECASE)

INVENTED_PASSWORD = re.compile(rf"{INVENTED_KEY.pattern}|password|secret|pass@|\*\*\*", re.IGNORECASE)

RESERVED = re.compile(
    r"(?:.*\.)?(?:example(?:\.(?:com|net|org|edu))?|invalid|test|localhost|local)|(?:.*\.)?(?:email|domain|company)\.com"
)
"""Domains that reach nobody, and those that stand for a domain in forms."""

SHOWN = 4
"""Characters of a secret that a report shows."""


def find_secrets(text: str) -> Iterator[tuple[str, str]]:
    """The check that each find belongs to (`secret`, `real_domain`, `real_phone`), and what it is, without the secret
    itself."""
    text = as_read(text)
    seen: list[tuple[int, int]] = []
    for kind, pattern in PATTERNS.items():
        for match in pattern.finditer(text):
            start, end = match.span()
            # A key behind its name is found twice.
            if LOOKS_REAL[kind](match.group()) and not overlaps(match.span(), seen):
                seen.append((start, end))
                yield "secret", f"{kind} {match.group()[:SHOWN]}... ({end - start} characters)"
    for match in PHONE.finditer(text):
        if is_phone(match.group()) and not overlaps(match.span(), seen):
            yield "real_phone", f"a number that begins with {match.group()[:SHOWN]}"
    for match in EMAIL.finditer(text) if "@" in text else ():
        if not RESERVED.fullmatch(match["domain"].lower()):
            yield "real_domain", f"an address at {match['domain'].lower()}"


def overlaps(span: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def is_phone(text: str) -> bool:
    """A number of a length that numbers have, and of no block kept for fiction."""
    digits = re.sub(r"\D", "", text)
    if not text.startswith("+") or digits.startswith("1"):
        local = digits[-10:]
        return local[3:6] != "555" and local[:3] != "555" and not RUN.search(local)
    return 9 <= len(digits) <= 15 and not RUN.search(digits) and not digits.startswith(FICTION)


def is_card(text: str) -> bool:
    """An issuer's number with the right check digit that is in no list of test numbers."""
    digits = re.sub(r"\D", "", text)
    return bool(CARD.fullmatch(digits)) and luhn(digits) and digits not in TEST_CARDS and len(set(digits)) > 3


def luhn_digit(number: str) -> int:
    """The digit that makes `number` followed by it a valid card number (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(number))]
    return -sum(value - 9 if value > 9 else value for value in doubled) % 10


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it (ISO/IEC 7812-1)."""
    return luhn_digit(digits[:-1]) == int(digits[-1])


def is_ssn(text: str) -> bool:
    """A number that could have been given out: no area 000, 666 or 900 and more, no group 00, no serial 0000."""
    digits = re.sub(r"\D", "", text)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    possible = area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
    return possible and f"{area}-{group}-{serial}" not in INVENTED_SSN


def is_iban(text: str) -> bool:
    """A number whose check digits are right, which are 02 to 98 (ISO 13616)."""
    plain = text.replace(" ", "").upper()
    if not 15 <= len(plain) <= 34 or plain[2:4] in ("00", "01", "99"):
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def is_key(text: str) -> bool:
    """A key that does not say that it is none, with as many different characters as a random one has."""
    return not INVENTED_KEY.search(text) and len(set(text)) >= min(12, len(text) // 2)


def has_digits_and_letters(text: str) -> bool:
    """Whether the last word of a text is no word of a language."""
    last = re.split(r"[\s:=\"']", text)[-1]
    return bool(re.search(r"\d", last) and re.search(r"[A-Za-z]", last))


LOOKS_REAL: dict[str, Callable[[str], bool]] = {
    "card": is_card,
    "ssn": is_ssn,
    "iban": is_iban,
    "private key": lambda text: True,
    "api key": is_key,
    "named key": lambda text: is_key(text) and has_digits_and_letters(text),
    "password in an address": lambda text: not INVENTED_PASSWORD.search(text),
    "web token": is_key,
}

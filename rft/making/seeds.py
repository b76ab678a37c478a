"""Where chance comes from, and the sentences that personas grow from.

Every draw has a generator of its own, seeded by the config's seed and by what is drawn. So nothing depends on the order
in which replies come, and more personas leave the first ones as they are.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

from rft.making.schemas import cleaned

JOBS = (
    "A baker", "A bus driver", "A retired teacher", "A nurse on night shifts", "A bicycle mechanic", "A law student",
    "A translator", "A carpenter", "A software tester", "A farmer", "A hotel clerk", "A violin teacher", "A surveyor",
    "A midwife", "A tax adviser", "A museum guard", "A fisherman", "A chemist", "A call centre agent", "A gardener",
    "An electrician", "A radio journalist", "A social worker", "A crane operator", "A librarian", "A tailor",
    "A paramedic", "A geologist", "A barista", "A train dispatcher",
)  # fmt: skip
PLACES = (
    "in a harbour town", "in a mountain village", "in a large city's oldest quarter", "on a windy island",
    "near the border", "in a suburb full of families", "in a university town", "beside a canal", "in a mining region",
    "in a desert city", "where winters are long", "in a coastal capital", "in a quiet valley", "by a busy ring road",
    "in a town of rivers and bridges", "far from where they grew up",
)  # fmt: skip
HABITS = (
    "who repairs old radios", "who looks after two grandchildren", "who has just moved out", "who sings in a choir",
    "who sends long letters", "who is saving for a boat", "who learns a third language", "who coaches a youth team",
    "who keeps bees on a roof", "who has started over after an illness", "who collects maps", "who plays chess by mail",
    "who shares a house with five others", "who walks to work at dawn", "who is writing a first novel",
    "who runs a small repair shop at weekends",
)  # fmt: skip


def rng_of(seed: int, *what: object) -> random.Random:
    """A generator for one draw, such as `rng_of(0, "place", "p3/s7")`."""
    return random.Random(f"{seed} {' '.join(map(str, what))}")


def request_seed(seed: int, stage: str, item: str, attempt: int) -> int:
    """The `seed` field of a request, in [0, 2**31)."""
    digest = hashlib.sha256(f"{seed} {stage} {item} {attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def seed_sentences(file: str | None, count: int, seed: int) -> list[str]:
    """One sentence per persona, no two alike.

    Raises:
        ValueError: a file that cannot be read, or holds fewer sentences.
    """
    if file is None:
        return drawn_sentences(count, seed)
    found = list(dict.fromkeys(read_sentences(Path(file))))
    if len(found) < count:
        raise ValueError(
            f"seed_sentences: {file} holds {len(found)} different sentences, and {count} personas are asked for; add "
            "some, or lower splits"
        )
    return found[:count]


def drawn_sentences(count: int, seed: int) -> list[str]:
    """Of the word lists; each combination occurs once.

    Raises:
        ValueError: there are not so many.
    """
    most = len(JOBS) * len(PLACES) * len(HABITS)
    if count > most:
        raise ValueError(f"there are word lists for {most:,} personas, not {count:,}; name a file as seed_sentences")
    numbers = list(range(most))
    rng_of(seed, "seed sentences").shuffle(numbers)
    return [sentence(number) for number in numbers[:count]]


def sentence(number: int) -> str:
    rest, job = divmod(number, len(JOBS))
    habit, place = divmod(rest, len(PLACES))
    return f"{JOBS[job]} {PLACES[place]} {HABITS[habit]}"


def read_sentences(path: Path) -> list[str]:
    """
    Raises:
        ValueError: the file cannot be read, or a line of it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"seed_sentences: {path} cannot be read ({error}); name a text file in UTF-8") from None
    return [persona_of(path, number, line) for number, line in enumerate(lines, 1) if cleaned(line)]


def persona_of(path: Path, number: int, line: str) -> str:
    if not line.lstrip().startswith("{"):
        return str(cleaned(line))
    try:
        found = json.loads(line)["persona"]
    except (ValueError, KeyError):
        found = None
    if not isinstance(found, str) or not cleaned(found):
        raise ValueError(f'seed_sentences: {path} line {number} is no JSON object with a text as "persona"')
    return str(cleaned(found))

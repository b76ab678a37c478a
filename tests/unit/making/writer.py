"""A scripted model behind an endpoint: it plays one that writes good data, or one with a fault.

It knows what it is asked by the schema's name and the prompt's words. What it says depends on the request alone, so two
runs get the same replies.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.unit.chat.endpoint_server import Response, chat

WORDS = [
    "amber", "basket", "candle", "drawer", "engine", "fabric", "garden", "hammer", "island", "jacket",
    "kettle", "ladder", "marble", "needle", "orchard", "pencil", "quarry", "ribbon", "saddle", "tunnel",
    "umbrella", "velvet", "window", "yellow", "zephyr", "anchor", "bridge", "copper", "desert", "ember",
]  # fmt: skip


@dataclass(kw_only=True)
class Writer:
    """Answers as a server's `answer`; counts every request by what was sent.

    Example:
        server.answer = Writer(fault="leaks").answer
    """

    fault: str | None = None
    """`leaks`: the right option is the longest, whatever is asked; `leans`: in six of ten questions it is; `hints`: the
    query says it all; `refuses`: the server marks every question as a refusal; `broken`: many questions are cut in the
    middle; `guesses`: the judge takes the option that is made for the preference, and sees no history; `careful`: it
    takes the one that leaves a blank for the secret."""
    seen: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any]) -> Response:
        sent = json.dumps(body, sort_keys=True)
        with self.lock:
            self.seen[sent] += 1
        name = body["response_format"]["json_schema"]["name"]
        prompt = body["messages"][-1]["content"]
        rng = random.Random(hashlib.sha256(sent.encode()).hexdigest())
        if name == "OptionsReply" and "query:" in prompt:
            if self.fault == "refuses":
                return 200, json.dumps({"choices": [{"finish_reason": "stop", "message": {"refusal": "I will not."}}]})
            if self.fault == "broken" and body["seed"] % 2:
                return chat('{"query": "Any id')
        value = getattr(self, name)(prompt, body, rng)
        return chat(json.dumps(value))

    def PersonaReply(self, prompt: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:  # noqa: N802
        return {
            "name": f"{pick(rng).title()} {pick(rng).title()}", "age": 44, "gender": "woman", "job": "baker",
            "education": "school", "location": "a town", "family": "two children", "personality": ["calm"],
            "values": ["rest"], "hobbies": ["chess"], "speaking_style": "short sentences",
        }  # fmt: skip

    def PreferencesReply(self, prompt: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:  # noqa: N802
        count = int(found(r"List (\d+) things", prompt))
        items = []
        for _ in range(count):
            code = f"{rng.randrange(10**9):09d}"
            words = " ".join(pick(rng) for _ in range(3))
            items.append(
                {"topic": pick(rng), "preference": f"Likes {words} x{code}", "opposite": f"Avoids {words} y{code}"}
            )
        return {"items": items}

    def ConflictsReply(self, prompt: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:  # noqa: N802
        return {"pairs": []}

    def ConversationReply(self, prompt: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:  # noqa: N802
        turns = int(found(r"Write (\d+) exchange", prompt))
        secret = found(r"needs:\n(.+)\n", prompt) if "exactly as it stands here" in prompt else ""
        told = [
            {"user": f"Polish this: {sentence(rng, 12)} {secret}", "assistant": f"Here it is: {sentence(rng, 12)}"}
            for _ in range(turns)
        ]
        forget = {"request": "Please forget that."} if '"request"' in prompt else {}
        return {"turns": told} | forget

    def OptionsReply(self, prompt: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:  # noqa: N802
        right, wrong = lengths(prompt)
        leans = self.fault == "leans" and int(hashlib.sha256(prompt[:200].encode()).hexdigest(), 16) % 10 < 6
        if self.fault == "leaks" or leans:
            right, wrong = 28, [14, 18, 22]
        if "query:" not in prompt:
            told = re.findall(r"(?:right: |\d\. )(.+)", prompt)
            texts = [
                cut(text, count, rng) for text, count in zip(told[:4], (right, *wrong), strict=True)
            ]  # fmt: skip
            return {"right": texts[0], "wrong": texts[1:]}
        texts = [sentence(rng, count) for count in (right, *wrong)]
        if "[" in prompt:  # a secret
            first, second = re.findall(r"exactly (.+?) in it", " ".join(prompt.split()))
            texts = [f"[{texts[0]}]", f"{texts[1]} {first}", f"{texts[2]} {second}", f"[other] {texts[3]}"]
        else:
            code = found(r"(x\d{9})", prompt)
            bearer = 1 if "assumes nothing" in prompt or "makes no use" in prompt else 0
            texts[bearer] += f" {code}"
        query = f"Any idea about {sentence(rng, 6)[::-1]}?"  # of words that no option has
        if self.fault == "hints":
            query = f"As somebody who likes {pick(rng)} {rng.random()}, any idea?"
        return {"query": query, "topic": pick(rng), "right": texts[0], "wrong": texts[1:]}

    def VerdictReply(self, prompt: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:  # noqa: N802
        if prompt.startswith("A question"):
            return {"verdict": "yes" if "somebody who likes" in prompt else "no"}
        return {"verdict": "yes"}

    def LettersReply(self, prompt: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:  # noqa: N802
        *_, code = re.findall(r"x\d{9}", prompt)
        return {"letters": [letter for letter, text in options(prompt) if code in text]}

    def AnswerReply(self, prompt: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:  # noqa: N802
        if self.fault == "careful":
            blanks = [letter for letter, text in options(prompt) if re.match(r"\[(?!other)", text)]
            return {"answer": blanks[0] if blanks else rng.choice("ABCD")}
        if self.fault == "guesses" and prompt.startswith("A user"):
            return {"answer": next((letter for letter, text in options(prompt) if re.search(r"x\d{9}", text)), "A")}
        return {"answer": rng.choice("ABCD")}


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, (pattern, text)
    return match[1]


def pick(rng: random.Random) -> str:
    return rng.choice(WORDS)


def sentence(rng: random.Random, count: int) -> str:
    return " ".join(pick(rng) for _ in range(count))


def lengths(prompt: str) -> tuple[int, list[int]]:
    text = " ".join(prompt.split())
    right = int(found(r"right answer has about (\d+) words", text))
    numbers = found(r"the wrong ones about (\d+, \d+ and \d+)", text)
    return right, [int(number) for number in re.findall(r"\d+", numbers)]


def cut(text: str, count: int, rng: random.Random) -> str:
    """The text with so many words, its codes and brackets kept."""
    words = text.split()
    kept = [word for word in words if re.search(r"[\d\[\]@-]", word)]
    plain = [word for word in words if word not in kept]
    plain = (plain + [pick(rng) for _ in range(count)])[: max(1, count - len(kept))]
    return " ".join([*plain, *kept])


def options(prompt: str) -> list[tuple[str, str]]:
    return re.findall(r"^([A-D])\. (.+)$", prompt, re.MULTILINE)

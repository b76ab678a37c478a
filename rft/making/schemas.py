"""What replies have to be: one schema per kind of request, which the endpoint decodes within and every reply is checked
against.

Texts are cleaned before they are checked: no white space around them, no control characters, nothing that no file can
hold. One that shows nothing is empty.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from rft.chat.reply_error import shortened
from rft.plain_text import has_text, without_control_sequences, without_half_surrogates
from rft.reward.thoughts import split_thought

CHARS_PER_WORD = 10
"""Room for a message of so many words; most languages need about six characters for a word."""

CONTROL_TOKEN = re.compile(r"<[|｜][^|｜<>]{1,40}[|｜]>")
"""Such as <|im_end|>: a mark of a chat template that ran into the text."""

Line = Annotated[str, StringConstraints(min_length=1, max_length=240)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=60)]
Letter = Literal["A", "B", "C", "D"]


class Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PersonaReply(Reply):
    name: Name
    age: Annotated[int, Field(ge=1, le=120)]
    gender: Name
    job: Line
    education: Line
    location: Name
    family: Line
    personality: Annotated[list[Name], Field(min_length=1, max_length=6)]
    values: Annotated[list[Name], Field(min_length=1, max_length=6)]
    hobbies: Annotated[list[Name], Field(min_length=1, max_length=6)]
    speaking_style: Line


class Preference(Reply):
    topic: Name
    preference: Line
    opposite: Line


class Pair(Reply):
    first: int
    second: int


class ConflictsReply(Reply):
    pairs: Annotated[list[Pair], Field(max_length=30)]


class VerdictReply(Reply):
    verdict: Literal["yes", "no"]


class LettersReply(Reply):
    letters: Annotated[list[Letter], Field(max_length=4)]


class AnswerReply(Reply):
    answer: Letter


def preferences_reply(count: int) -> type[Reply]:
    """`count` preferences under "items"."""
    items = Annotated[list[Preference], Field(min_length=count, max_length=count)]
    return create_model("PreferencesReply", __base__=Reply, items=(items, ...))


def conversation_reply(turns: int, words: int, *, forget: bool = False) -> type[Reply]:
    """`turns` exchanges under "turns"; with `forget` one more message under "request"."""
    text = Annotated[str, StringConstraints(min_length=1, max_length=2 * words * CHARS_PER_WORD)]
    turn = create_model("Turn", __base__=Reply, user=(text, ...), assistant=(text, ...))
    of_turns = Annotated[list[turn], Field(min_length=turns, max_length=turns)]  # type: ignore[valid-type]
    more: dict[str, Any] = {"request": (Line, ...)} if forget else {}
    return create_model("ConversationReply", __base__=Reply, turns=(of_turns, ...), **more)


def options_reply(words: int, *, question: bool) -> type[Reply]:
    """A right answer and three wrong ones; with `question` the query and its topic before them."""
    text = Annotated[str, StringConstraints(min_length=1, max_length=2 * words * CHARS_PER_WORD)]
    fields: dict[str, Any] = {"query": (Line, ...), "topic": (Name, ...)} if question else {}
    fields |= {"right": (text, ...), "wrong": (Annotated[list[text], Field(min_length=3, max_length=3)], ...)}
    return create_model("OptionsReply", __base__=Reply, **fields)


# ----------------------------------------------------------------------------------------------------- reading one


def read_reply(text: str, schema: type[Reply]) -> tuple[dict[str, Any] | None, str | None, str]:
    """The values of a reply, or None with the reason why there are none, and a line about it."""
    _, answer = split_thought(text)
    if answer is None:
        return None, "unclosed_thought", ""
    start, end = answer.find("{"), answer.rfind("}")
    try:
        found = cleaned(json.loads(answer[start : end + 1]))
        value = schema.model_validate(found).model_dump()
        mark = CONTROL_TOKEN.search(json.dumps(value, ensure_ascii=False))
        return (None, "control_token", mark[0]) if mark else (value, None, "")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return None, "wrong_form", shortened(f"{place}: {first['msg']}")
    except (ValueError, RecursionError):
        return None, "not_json", ""


def cleaned(value: Any) -> Any:
    if isinstance(value, str):
        plain = without_control_sequences(without_half_surrogates(value)[0]).strip()
        return plain if has_text(plain) else ""
    if isinstance(value, list):
        return [cleaned(part) for part in value]
    return {name: cleaned(part) for name, part in value.items()} if isinstance(value, dict) else value


# ----------------------------------------------------------------------------------------------------- asking for one

TEXT_BOUNDS = ("minLength", "maxLength")


def response_format(schema: type[Reply], structured: str) -> dict[str, Any]:
    """The request's field `response_format`, empty where JSON is asked for in words alone."""
    if structured == "none":
        return {}
    if structured == "json_object":
        return {"response_format": {"type": "json_object"}}
    written = schema.model_json_schema()
    strict = structured == "json_schema_strict"
    form = {"name": schema.__name__, "schema": without_text_bounds(written) if strict else written}
    return {"response_format": {"type": "json_schema", "json_schema": form | ({"strict": True} if strict else {})}}


def without_text_bounds(schema: Any) -> Any:
    if isinstance(schema, list):
        return [without_text_bounds(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: without_text_bounds(part) for name, part in schema.items() if name not in TEXT_BOUNDS}


def form_in_words(schema: type[Reply], structured: str) -> str:
    """What is added to a prompt where the endpoint does not know the schema."""
    if structured in ("json_schema", "json_schema_strict"):
        return ""
    return f"\n\nThe JSON object follows this schema: {json.dumps(schema.model_json_schema())}"

"""What each system shows, and what the controls hide."""

from __future__ import annotations

import pytest

from rft.data.benchmarks import Benchmark
from rft.data.chat_template import ChatTemplate
from rft.data.prompts import LETTERS, SYSTEM_PROMPT, paper_option_order, question_message
from rft.eval import systems
from rft.eval.systems import CONTEXTS, CONTROLS, RULES, SYSTEMS, Material, choose_systems, strangers
from rft.records import History, Message, Question
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.eval.builder import make_question

QUESTIONS = [make_question(number) for number in range(8)]


def history(history_id: str) -> History:
    persona = int(history_id[1:])
    messages = [Message(role="system", content=f"Card of {persona}.")]
    messages += [Message(role=("user", "assistant")[i % 2], content=f"Word {i} of {persona}.") for i in range(6)]
    return History(history_id=history_id, persona_id=persona, messages=tuple(messages))


def material(**changes: object) -> Material:
    benchmark = Benchmark(
        name="personamem_v2", questions=tuple(QUESTIONS), history=history, training=(), manifest={},
        option_order=lambda question: paper_option_order(question.row),
    )  # fmt: skip
    settings = {"persona_card": "drop", "chat": ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))}
    return Material(benchmark, QUESTIONS, **settings | changes)  # type: ignore[arg-type]


def said(system: str, question: Question, **changes: object) -> list[str]:
    return [message.content for message in CONTEXTS[system](material(**changes), question).messages]


def test_what_each_system_shows():
    question = QUESTIONS[2]  # persona 1
    words = [f"Word {i} of 1." for i in range(6)]
    assert said("full_history", question) == [SYSTEM_PROMPT, *words]
    assert said("full_history", question, persona_card="keep") == [SYSTEM_PROMPT, "Card of 1.", *words]
    assert said("persona_card", question) == [SYSTEM_PROMPT, "Card of 1."]
    assert said("evidence_only", question) == [SYSTEM_PROMPT, "I hum jazz."]
    assert said("no_history", question) == said("options_only", question) == [SYSTEM_PROMPT]


def test_another_persona_s_history_is_never_one_s_own_and_always_the_same():
    found = strangers(QUESTIONS)
    assert found == strangers(QUESTIONS[::-1])
    assert found.keys() == {"h0", "h1", "h2", "h3"}
    assert all(own != other for own, other in found.items())
    shown = said("other_history", QUESTIONS[2])
    assert len(shown) == 7 and not any("of 1." in text for text in shown)
    alone = Material(material().benchmark, QUESTIONS[:2], persona_card="drop")
    with pytest.raises(ValueError, match="two personas"):
        CONTEXTS["other_history"](alone, QUESTIONS[0])


def test_two_histories_of_one_persona_are_no_strangers():
    twins = [make_question(0, history_id="a", persona_id=0), make_question(1, history_id="b", persona_id=0)]
    assert strangers(twins) == {}
    assert strangers([*twins, make_question(2, history_id="c", persona_id=1)])["a"] == "c"


def test_what_a_data_set_does_not_have_is_said():
    with pytest.raises(ValueError, match="evidence"):
        CONTEXTS["evidence_only"](material(), make_question(0, evidence=()))
    bare = material()
    bare.history = lambda name: History(  # type: ignore[assignment]
        history_id=name, persona_id=0, messages=(Message(role="user", content="Hi."),)
    )
    with pytest.raises(ValueError, match="no card"):
        CONTEXTS["persona_card"](bare, QUESTIONS[0])


def test_a_cut_history_keeps_its_end_and_says_how_much_went():
    chat = ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))
    parts = chat.split(material().whole("h1").messages)
    asked = [question_message(question, paper_option_order(question.row)).content for question in QUESTIONS[2:4]]
    history, *tails = (len(ids) for ids in chat.encode([parts.history, *map(parts.tail, asked)]))
    found = material().cut("h1", "h1", history + max(tails) - 20, "truncate_oldest")
    kept = [message.content for message in found.messages]
    assert 0 < found.messages_dropped < 6
    assert kept == [SYSTEM_PROMPT, *(f"Word {i} of 1." for i in range(found.messages_dropped, 6))]
    with pytest.raises(ValueError, match="longer than 10"):
        material().cut("h1", "h1", 10, "truncate_oldest")


def test_rules_look_at_the_options_alone():
    assert systems.longest_option(["a", "bbb", "cc", "ddd"]) == 1
    assert systems.shortest_option(["aa", "b", "c"]) == 1
    orders = {q.question_id: order for q, order in zip(QUESTIONS[:3], ((1, 0), (1, 0), (0, 1)), strict=True)}
    assert systems.majority_letter(QUESTIONS[:3], lambda q: orders[q.question_id]) == 1
    assert LETTERS[systems.majority_letter(QUESTIONS[1:3], lambda q: orders[q.question_id])] == "a"  # a draw


def test_names_and_sets_of_systems():
    assert choose_systems("full_history, controls,no_history") == ["full_history", *CONTROLS]
    assert choose_systems(["memory"]) == ["memory"]
    assert choose_systems("all") == list(SYSTEMS)
    assert set(RULES) < set(CONTROLS) < set(SYSTEMS)
    with pytest.raises(ValueError, match="unknown system 'no_histroy'"):
        choose_systems("no_histroy")

"""What stands around the data: options and letters, system line and profile, the wordings."""

from __future__ import annotations

from rft.data import prompts
from rft.data.closing import Closing
from rft.data.prompts import LeaderboardWording, McqWording, PlainWording, context_messages, wording_text
from rft.records import Context, Message, Question

CARD = Message(role="system", content="card")
USER = Message(role="user", content="hello")
LINE = Message(role="system", content=prompts.SYSTEM_PROMPT)


def question() -> Question:
    return Question(
        question_id="train/3",
        context_id="h",
        cluster="1",
        query="Any {idea}?",
        correct_answer="right",
        incorrect_answers=("w1", "w2", "w3"),
    )


def test_multiple_choice_shows_query_options_and_letters() -> None:
    asked = McqWording().ask(question(), (2, 0, 3, 1))
    assert asked.startswith("Any {idea}?\n")
    assert "(a) w2\n(b) right\n(c) w3\n(d) w1\n" in asked
    assert asked.endswith("\\boxed{a} or \\boxed{b} or \\boxed{c} or \\boxed{d}.")


def test_the_query_can_be_hidden() -> None:
    asked = McqWording().ask(question(), (2, 0, 3, 1), show_query=False)
    assert "idea" not in asked and asked.startswith("Which reply")


def test_the_final_answer_protocol_asks_for_a_line() -> None:
    asked = McqWording("final_answer").ask(question(), (2, 0, 3, 1))
    assert "A. w2\nB. right" in asked and asked.endswith("Final Answer: [Letter]")


def test_the_leaderboard_s_options_stand_in_a_system_message_behind_the_query() -> None:
    closing = LeaderboardWording().close(question(), (2, 0, 3, 1))
    assert isinstance(closing, Closing)
    assert closing.user.startswith("Any {idea}?\n\n") and "w2" not in closing.user
    assert "A. w2\nB. right\nC. w3\nD. w1" in closing.system and "idea" not in closing.system
    assert closing.system.endswith("Final Answer: [Letter]")
    asked = LeaderboardWording().ask(question(), (2, 0, 3, 1))
    assert asked == f"{closing.user}\n\n{closing.system}"
    assert prompts.shown_order(LeaderboardWording(), question(), (2, 0, 3, 1)) == (2, 0, 3, 1)


def test_the_leaderboard_s_open_question_is_the_query_with_its_request_to_recall() -> None:
    asked = LeaderboardWording().close(question(), ())
    closing = LeaderboardWording().close(question(), (0, 1), show_query=False)
    assert isinstance(asked, str) and asked.startswith("Any {idea}?\n\n") and "right" not in asked
    assert isinstance(closing, Closing) and asked.endswith(closing.user) and "idea" not in closing.user


def test_fewer_options_offer_fewer_letters() -> None:
    assert McqWording().ask(question(), (1, 0)).endswith("\\boxed{a} or \\boxed{b}.")
    assert (prompts.offered_letters((1, 0, 2)), prompts.gold_letter((1, 0, 2))) == (("a", "b", "c"), "b")


def test_a_plain_question_is_the_query() -> None:
    assert PlainWording().ask(question(), ()) == "Any {idea}?"


def test_the_profile_is_dropped_or_kept() -> None:
    context = Context(context_id="h", messages=(USER, USER), profile=CARD)
    assert context_messages(context, McqWording(), "drop") == [LINE, USER, USER]
    assert context_messages(context, McqWording(), "keep") == [LINE, CARD, USER, USER]


def test_a_context_without_a_profile_loses_nothing() -> None:
    context = Context(context_id="h", messages=(USER,))
    assert context_messages(context, McqWording(), "drop") == context_messages(context, McqWording(), "keep")


def test_a_context_s_own_system_message_takes_the_place_of_the_task_s() -> None:
    own = Message(role="system", content="Answer from this contract.")
    context = Context(context_id="h", messages=(own, USER))
    assert context_messages(context, McqWording(), "drop") == [own, USER]


def test_a_wording_without_a_system_line_adds_none() -> None:
    context = Context(context_id="h", messages=(USER,))
    assert context_messages(context, PlainWording(), "drop") == [USER]
    assert context_messages(context, PlainWording("Be brief."), "drop")[0].content == "Be brief."


def test_wordings_that_differ_in_a_word_have_other_texts() -> None:
    wordings = [
        McqWording(), McqWording("final_answer"), LeaderboardWording(), PlainWording(), PlainWording("Be brief."),
    ]  # fmt: skip
    assert len({wording_text(wording) for wording in wordings}) == 5
    assert wording_text(McqWording()) == wording_text(McqWording())


def test_sft_target_names_the_letter_of_the_right_answer() -> None:
    assert prompts.sft_target(question(), (2, 0, 3, 1)) == "\\boxed{b} right"


def test_an_order_is_shown_only_where_the_options_are() -> None:
    order = (2, 0, 3, 1)
    assert prompts.shown_order(McqWording(), question(), order) == order
    assert prompts.shown_order(PlainWording(), question(), order) == ()

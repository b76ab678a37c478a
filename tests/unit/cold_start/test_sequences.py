"""What a cold start is trained on."""

from __future__ import annotations

from pathlib import Path

from rft.cold_start import traces
from rft.cold_start.sequences import IGNORED, McqSequences
from rft.data.personamem import read_history
from rft.data.prompts import history_messages, question_message
from rft.reward.mcq import score


def test_questions_of_a_history_share_sequences(sequences: McqSequences) -> None:
    runs = sequences.indices()
    assert sorted(index for run in runs for index in run) == list(range(len(sequences.split.questions)))
    assert [len(run) for run in runs] == [3, 2] * 10
    for run in runs:
        assert len({sequences.split.questions[index].history_id for index in run}) == 1


def test_loss_is_on_the_replies_alone(sequences: McqSequences) -> None:
    run = sequences.indices()[0]
    input_ids, labels = sequences.sequence(run)
    trained = [token for token, label in zip(input_ids, labels, strict=True) if label != IGNORED]
    assert trained == [label for label in labels if label != IGNORED]
    replies = sequences.tokenizer.decode(trained).split("<|im_end|>")
    assert len(replies) == len(run) + 1 and replies[-1] == ""
    for index, reply in zip(run, replies, strict=False):
        prompt = sequences.split.prompt(index, sequences.split.eval_order(index))
        question = sequences.split.questions[index]
        right = traces.demonstrates_right(question, 0.5, seed=0)
        assert score(reply, prompt.letters, prompt.gold, rule="strict").reward == float(right)


def test_sequence_is_the_chat_it_continues(sequences: McqSequences) -> None:
    run = sequences.indices()[0]
    split, tokenizer = sequences.split, sequences.tokenizer
    root = Path(split.manifest["cache_identity"]["root"])
    history = read_history(root, split.questions[run[0]].history_id, split.questions[run[0]].persona_id)
    chat = [{"role": m.role, "content": m.content} for m in history_messages(history, "drop")]
    for index in run:
        question, order = split.questions[index], split.eval_order(index)
        right = traces.demonstrates_right(question, 0.5, seed=0)
        chat.append({"role": "user", "content": question_message(question, order).content})
        chat.append({"role": "assistant", "content": traces.trace_target(question, order, right)})
    whole = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    assert sequences.sequence(run)[0] + sequences.encode("\n") == list(whole)

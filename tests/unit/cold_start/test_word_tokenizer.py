"""The tokenizer that is made from the data."""

from __future__ import annotations

from rft.cold_start.sequences import McqSequences
from rft.data.chat_template import ChatTemplate
from rft.data.dataset import Dataset
from rft.data.prompts import McqWording, context_messages


def test_tokenizer_gives_back_every_text(sequences: McqSequences) -> None:
    tokenizer = sequences.tokenizer
    for index in range(len(sequences.split)):
        ids = list(sequences.split.prompt(index, (0, 1, 2, 3)).token_ids)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] == ids
    reply = "<think> music : jazz . (b) jazz yes </think> \\boxed{b}"
    ids = [*sequences.encode("<think>"), *sequences.encode(" (b) jazz yes </think> \\boxed{b}"), tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think> (b) jazz yes </think> \\boxed{b}"
    assert tokenizer.unk_token in tokenizer.decode(sequences.encode(reply + " unseen-word"))


def test_tokenizer_suits_the_shared_context(sequences: McqSequences, dataset: Dataset) -> None:
    question, wording = sequences.split.questions[0], McqWording()
    messages = context_messages(dataset.context(question.context_id), wording, "drop")
    ChatTemplate(sequences.tokenizer).check(messages, wording.ask(question, (0, 1, 2, 3)))

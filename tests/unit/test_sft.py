"""The cold start on a data set of a few personas: what is trained on, and that the result loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rft import sft
from rft.cold_start import traces
from rft.cold_start.config import SftConfig
from rft.cold_start.sequences import IGNORED, McqSequences
from rft.cold_start.tokenizer import load_or_build_tokenizer
from rft.config import Config, parse_config
from rft.data.chat_template import ChatTemplate
from rft.data.personamem import read_history
from rft.data.prepare import prepare
from rft.data.prompts import history_messages, question_message
from rft.data.synthetic import write_dataset
from rft.models import stop_token_ids
from rft.reward.mcq import score

CONFIG = """
output_dir: {out}
model:
  model_name_or_path: null
  config: {{hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 2,
           num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 1024, tie_word_embeddings: true}}
data: {{source: {data}, train_split: paper, max_prompt_length: 1000, cache_dir: {cache}}}
target: {{reply: trace, right_share_hard: 0.5, questions_per_sequence: 3}}
train: {{learning_rate: 0.01, max_steps: 3, per_device_train_batch_size: 2, save_strategy: "no", logging_steps: 1}}
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sft")
    write_dataset(root / "data", num_personas=12, questions_per_persona=5, history_tokens=350, style="brief", seed=1)
    file = root / "sft.yaml"
    file.write_text(CONFIG.format(out=root / "out", data=root / "data", cache=root / "cache"), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def sequences(config_file: Path) -> McqSequences:
    config = parse_config(SftConfig, config_file, [])
    tokenizer = load_or_build_tokenizer(config)
    return McqSequences(prepare(Config(data=config.data), tokenizer, "train"), tokenizer, config.target, seed=0)


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


def test_right_share_counts_only_the_hard_kinds(sequences: McqSequences) -> None:
    questions = sequences.split.questions
    hard = [question for question in questions if traces.is_hard(question)]
    assert 0 < len(hard) < len(questions)
    for rate, expected in ((0.0, 0), (1.0, len(hard))):
        assert sum(traces.demonstrates_right(question, rate, seed=0) for question in hard) == expected
    assert all(traces.demonstrates_right(question, 0.0, seed=0) for question in questions if question not in hard)


@pytest.mark.parametrize("right", [True, False])
def test_trace_names_the_reading_and_the_letter(sequences: McqSequences, right: bool) -> None:
    for question in sequences.split.questions:
        reply = traces.trace_target(question, (2, 0, 1, 3), right)
        assert reply.startswith(f"<think> {question.topic} : ")
        assert reply.endswith(" no </think> \\boxed{b}" if right else " no </think> \\boxed{c}")
        thought = reply.split()
        assert thought.count("yes") == 1 and thought.count("no") == 3
        # The verdict is yes where the option goes by the last word of the reading.
        assert thought[thought.index("yes") - 1] == thought[thought.index(".") - 1]


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


def test_tokenizer_suits_the_shared_history(sequences: McqSequences) -> None:
    root = Path(sequences.split.manifest["cache_identity"]["root"])
    question = sequences.split.questions[0]
    messages = history_messages(read_history(root, question.history_id, question.persona_id), "drop")
    ChatTemplate(sequences.tokenizer).check(messages, question_message(question, (0, 1, 2, 3)).content)


def test_cold_start_makes_a_model_that_loads(config_file: Path) -> None:
    assert sft.main([str(config_file)]) == 0
    out = config_file.parent / "out"
    model = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert model.config.vocab_size == len(tokenizer)
    assert stop_token_ids(model.generation_config, tokenizer) == (tokenizer.eos_token_id,)
    torch.testing.assert_close(model.lm_head.weight, model.model.embed_tokens.weight)
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "music"}], tokenize=False, add_generation_prompt=True
    ) == ("<|im_start|>user\nmusic<|im_end|>\n<|im_start|>assistant\n")
    # A second run starts from the first one's model, with its tokenizer.
    again = ["model.model_name_or_path=" + str(out), "train.max_steps=1", f"output_dir={out}_again"]
    assert sft.main([str(config_file), *again]) == 0
    second = AutoTokenizer.from_pretrained(f"{out}_again")
    assert second.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.lerning_rate=1", "did you mean 'train.learning_rate'?"),
        ("data.source=nowhere/to be/found", "is not a folder"),
        ("model.model_name_or_path=nowhere/to/be/found", "model.model_name_or_path: cannot read nowhere/to/be/found"),
        ("data.max_prompt_length=300", "data.max_prompt_length is 300; raise it"),
    ],
)
def test_user_mistakes_end_with_one_line(
    config_file: Path, capfd: pytest.CaptureFixture[str], override: str, problem: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr("rft.cold_start.train.train", refuse)
    assert sft.main([str(config_file), override]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and problem in errors[0]


def refuse(*_: Any) -> Callable[[], None]:
    raise AssertionError("nothing may be trained")

"""What a run says while it goes on without learning."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from rft.grpo.alarms import PATIENCE, Alarms, check_turn_end
from tests.unit.data.builder import TEMPLATES, make_tokenizer


def told(batches: list[dict[str, float]], caplog: pytest.LogCaptureFixture) -> list[str]:
    alarms = Alarms(main=True)
    due = [text for metrics in batches for text in alarms.look(metrics)]
    assert [record.getMessage() for record in caplog.records] == due
    return due


def test_all_rewards_0_for_many_batches_is_told_once(caplog: pytest.LogCaptureFixture):
    (text,) = told([{"reward": 0.0, "completions/clipped_ratio": 0.5}] * (3 * PATIENCE), caplog)
    assert f"no answer of the last {PATIENCE} batches has earned a reward" in text


def test_one_reward_in_between_is_enough(caplog: pytest.LogCaptureFixture):
    none, some = {"reward": 0.0}, {"reward": 0.01}
    assert told([none] * (PATIENCE - 1) + [some] + [none] * (PATIENCE - 1), caplog) == []


def test_all_replies_cut_is_told(caplog: pytest.LogCaptureFixture):
    (text,) = told([{"reward": 0.5, "completions/clipped_ratio": 1.0}] * PATIENCE, caplog)
    assert "every completion" in text and "does not end its turn" in text


def test_other_ranks_are_silent(caplog: pytest.LogCaptureFixture):
    alarms = Alarms(main=False)
    assert [len(alarms.look({"reward": 0.0})) for _ in range(PATIENCE)][-1] == 1
    assert not caplog.records


def test_a_turn_end_that_is_no_stop_token_is_told_at_the_start():
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert check_turn_end(tokenizer, [end]) is None
    text = check_turn_end(tokenizer, [end + 1])
    assert text is not None and "ends a turn with '<|im_end|>', which is none of the model's stop tokens" in text


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no assistant') }}", "{{ messages[0].content }}", "{{ 1 / 0 }}"]
)
def test_a_template_that_says_nothing_of_it_is_no_fault(template: str):
    tokenizer: PreTrainedTokenizerFast = make_tokenizer(template)
    assert check_turn_end(tokenizer, [0]) is None

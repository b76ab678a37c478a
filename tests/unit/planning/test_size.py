"""The size of a run."""

from __future__ import annotations

import pytest

from rft.planning.size import describe, size_of_replay, size_of_run
from tests.unit.planning.configs import config


def test_epochs_drop_the_last_incomplete_batch():
    size = size_of_run(config(train__num_train_epochs=2.0, train__steps_per_generation=2), 1, num_questions=30)
    assert (size.num_batches, size.num_steps) == (6, 12)


def test_max_steps_wins_over_epochs():
    size = size_of_run(config(train__max_steps=10, train__num_iterations=2), 1, num_questions=30)
    assert (size.num_batches, size.num_steps) == (5, 10)


def test_too_few_questions_for_a_batch():
    with pytest.raises(ValueError, match="7 training questions"):
        size_of_run(config(), 1, num_questions=7)


def test_a_replay_uses_each_saved_batch_once():
    assert size_of_replay(config(train__num_iterations=2, train__num_train_epochs=3.0), num_saved=5).num_steps == 10
    assert size_of_replay(config(train__num_iterations=2, train__max_steps=4), num_saved=5).num_batches == 2
    with pytest.raises(ValueError, match="needs 6 saved batches, and train.replay has 5; lower it to 10"):
        size_of_replay(config(train__num_iterations=2, train__max_steps=12), num_saved=5)


def test_the_description_names_its_numbers():
    text = describe(config(), 2, size_of_run(config(train__max_steps=10), 2, num_questions=30))
    assert "8 questions" in text
    assert "16 completions on each of 2 ranks" in text
    assert "10 steps" in text
    assert "every 50 steps in checkpoints/run" in text


def test_without_data_the_description_says_what_the_config_says():
    assert "10 optimizer steps, 2 optimizer steps per rollout batch" in describe(
        config(train__max_steps=10, train__num_iterations=2), 1
    )
    assert "1.5 epochs, 1 optimizer steps per rollout batch" in describe(config(train__num_train_epochs=1.5), 1)

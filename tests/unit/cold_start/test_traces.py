"""Written-out reasoning, right and careless."""

from __future__ import annotations

import pytest

from rft.cold_start import traces
from rft.cold_start.sequences import McqSequences


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
        assert reply.startswith(f"<think> {question.tags['topic']} : ")
        assert reply.endswith(" no </think> \\boxed{b}" if right else " no </think> \\boxed{c}")
        thought = reply.split()
        assert thought.count("yes") == 1 and thought.count("no") == 3
        # The verdict is yes where the option goes by the last word of the reading.
        assert thought[thought.index("yes") - 1] == thought[thought.index(".") - 1]

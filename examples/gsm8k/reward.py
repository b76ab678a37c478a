r"""The reward: 1 where the reply's last number after #### or in \boxed{} is the reference's, else 0.

It has trl's signature, and `answer` is the data set's own column, so trl's GRPOTrainer takes it as well.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

FINAL_NUMBER = re.compile(r"(?:####|\\boxed\{)[\s$\\*]*(-?)\$?([0-9][0-9,]*(?:\.[0-9]+)?)")


def numeric_answer(completions: list[list[dict[str, str]]], answer: list[str], **kwargs: Any) -> list[float]:
    """One value per completion; `answer` holds the worked-out reference answers."""
    found = [final_number(completion[-1]["content"]) for completion in completions]
    right = [final_number(reference) for reference in answer]
    return [float(number is not None and number == other) for number, other in zip(found, right, strict=True)]


def final_number(text: str) -> Decimal | None:
    """`#### 1,000` and `\\boxed{1000.0}` are the same number; None where there is none."""
    found = FINAL_NUMBER.findall(text)
    if not found:
        return None
    sign, digits = found[-1]
    return Decimal(sign + digits.replace(",", ""))

"""The config of `rft/audit.py`: a comparison's config, read for its data, model and endpoint, and what is allowed."""

from __future__ import annotations

from dataclasses import field

from rft.auditing.checks import CHECKS, default_allowance
from rft.config_schema import NonNegativeFloat, NonNegativeInt, PositiveInt, Share, ShareOrZero, Text, section
from rft.eval.config import ComparisonConfig


@section
class AuditSettings:
    """From when on a finding makes data unfit to train on."""

    allowed: dict[str, int | None] = field(default_factory=dict)
    """Cases allowed by the name of a check (docs/auditing.md); null is any number. By default an error is allowed
    nowhere and a warning everywhere."""
    length_margin: ShareOrZero = 0.05
    """How far above chance the interval of "the right option is the longest", the shortest or the one nearest to
    the average may begin."""
    kind_margin: ShareOrZero = 0.10
    """The same within one kind of question, and for words and letters that give the right option away."""
    smallest_kind: PositiveInt = 20
    """Questions of a kind, below which it is judged by itself only where a rule finds every one of at least 8."""
    fuzzy_evidence: Share = 0.7
    """Evidence that is not in its history word by word, but of whose words, weighted by how rare they are, one message
    holds this share in the same order, counts as changed and not as missing."""
    near_duplicate: Share = 0.75
    """Likeness of two queries of one cluster from which on they count as the same question."""
    max_history_tokens: PositiveInt | None = None
    """Tokens of a history; None is the window's own size (32,000, 128,000) and `budget_slack`."""
    budget_slack: NonNegativeFloat = 0.1
    """Share of the window's size that a history may be longer: tokenizers differ."""
    tokenizer: Text | None = None
    """What counts tokens: a folder or a hub id. None is the model's where a config or an override names one; without,
    words, digits and punctuation marks are counted."""
    options_only: bool = False
    """Ask the local model the questions without query and history. An endpoint that is named is always asked."""
    processes: NonNegativeInt = 0
    """That read histories; 0 is one per core."""
    seed: NonNegativeInt = 0
    """Of what is drawn by lot: the halves in which the words of options are learned."""

    def allowance(self, check: str) -> int | None:
        """How many cases of a check are allowed; None is any number."""
        return self.allowed.get(check, default_allowance(check))

    def check_names(self) -> None:
        """Raises ValueError for an allowance of a check that does not exist."""
        for name in self.allowed:
            if name not in CHECKS:
                raise ValueError(f"audit.allowed.{name}: there is no such check; choose of {', '.join(CHECKS)}")


@section
class AuditConfig(ComparisonConfig):
    """A whole audit. Only `data`, `model`, `compare.endpoint` and `audit` are read."""

    audit: AuditSettings = field(default_factory=AuditSettings)
    """What is allowed."""

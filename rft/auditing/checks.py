"""Every check of the audit: its name, how bad a case is, and what it means for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One kind of finding.

    Example:
        Check(severity="error", title="Repeated option", meaning="Two letters are right ...")
    """

    severity: Severity
    """An `error` makes data unfit from the first case on, a `warning` only where `audit.allowed` says so."""
    title: str
    meaning: str
    """One sentence for a person who will train on the data."""


def error(title: str, meaning: str) -> Check:
    return Check(severity="error", title=title, meaning=meaning)


def warning(title: str, meaning: str) -> Check:
    return Check(severity="warning", title=title, meaning=meaning)


CHECKS: dict[str, Check] = {
    # ------------------------------------------------------------------------------------------------ rows and splits
    "unreadable_row": error(
        "Row that cannot be read", "Training stops at it, or leaves it out with data.bad_rows=skip."
    ),
    "cluster_in_two_splits": error(
        "Cluster in two splits",
        "The model is tested on a user whose history it has trained on, so the score is no score on new users.",
    ),
    "empty_split": error(
        "Split without a row", "Training and evaluation on it stop at once."
    ),
    "repeated_history": error(
        "One history under two names",
        "The same user is hidden behind two ids, and may be on both sides of a split.",
    ),
    "duplicate_row": error(
        "Duplicate row", "A question that is there twice counts twice in the reward and in every mean."
    ),
    "near_duplicate_query": error(
        "Nearly the same query twice for one user",
        "The two rows teach one thing twice, or two different answers to one question.",
    ),
    "unknown_value": error(
        "Value that the column does not have", "Results by kind lose the row, or count it under a wrong kind."
    ),
    "unreadable_cell": warning(
        "Cell that cannot be read", "No question needs it, but whoever uses its column stops there."
    ),
    "unknown_column": warning(
        "Column that no reader takes", "What it holds is in no prompt and no result; its name may be misspelt."
    ),
    "contradicting_columns": error(
        "Columns that contradict each other",
        "One of them is wrong, so the row is counted under a wrong kind, or its answer is wrong.",
    ),
    "others_preference_used": error(
        "Another person's preference in the right answer",
        "The row says that the preference is not the user's, yet the right answer follows it: the model learns to "
        "mix people up.",
    ),
    "own_preference_unused": warning(
        "The user's preference only in a wrong option",
        "Either the right answer or `who` is wrong; the model would learn to pass over what the user likes.",
    ),
    # ---------------------------------------------------------------------------------------------- options and query
    "repeated_option": error(
        "Repeated option", "Two letters show the same answer, and only one of them is rewarded."
    ),
    "nearly_repeated_option": warning(
        "Option that is another one with a word more", "Both are right or both are wrong, so chance decides the reward."
    ),
    "labelled_option": error(
        "Option with a label of its own",
        "Options are shuffled and get letters, which a label such as `B)` contradicts; `Correct:` gives the answer "
        "away.",
    ),
    "empty_text": error(
        "Query or option that says nothing",
        "The row cannot be asked as it was meant, or an option is ruled out at sight.",
    ),
    "hidden_options": warning(
        "Wrong answers that are never shown",
        "The first three with text become options; the right answer may be among the others.",
    ),
    "query_tells_answer": error(
        "The query gives the answer away", "No history is needed, so the model learns to read the query alone."
    ),
    "query_tells_preference": warning(
        "The query names the preference", "What should be found in the history stands in the question."
    ),
    "length_leak": error(
        "The length of an option tells the right one",
        "A policy is rewarded for choosing by length, and learns that sooner than reading.",
    ),
    "word_leak": error(
        "The words of an option tell the right one",
        "The style of right options can be learned without any query or history, and GRPO will learn it.",
    ),
    "style_leak": error(
        "The style of an option tells the right one",
        "A mark that right options alone have, or alone lack, is learned sooner than reading: a full stop, digits, "
        "line breaks, capitals.",
    ),
    "letter_imbalance": error(
        "One letter is right too often", "A policy earns reward by always answering the same letter."
    ),
    "options_only_leak": error(
        "A model finds the right option without query and history",
        "The options alone tell the answer, so the score says little about reading the history.",
    ),
    # -------------------------------------------------------------------------------------------------------- evidence
    "answer_in_history": warning(
        "The right answer stands in the history word by word",
        "The option can be found by comparing texts, so nothing has to be understood.",
    ),
    "evidence_missing": error(
        "Evidence that is not in its history",
        "Nothing in the prompt tells the answer: the reward of the row is noise, or teaches a guess.",
    ),
    "evidence_changed": warning(
        "Evidence that differs from its history by a few words, or by who says it",
        "The answer is in the history, but whatever looks evidence up by its text will not find it.",
    ),
    "no_evidence": warning(
        "Row that names no evidence", "Nobody can say whether its history tells the answer."
    ),
    # ------------------------------------------------------------------------------------------------------- histories
    "history_unusable": error(
        "History that is missing or cannot be read", "Its questions cannot be asked, and training stops at them."
    ),
    "history_of_another": error(
        "History of another user", "The question is asked about somebody else's chats."
    ),
    "recorded_totals": warning(
        "History that is not as long as it says", "The file may be cut, so that evidence is lost."
    ),
    "over_budget": error(
        "History over its budget", "The prompt does not fit, so it is cut, left out, or stops the run."
    ),
    "odd_length": warning(
        "History of another length than the others",
        "Much shorter ones lack what their questions ask, much longer ones cost the memory of the whole batch.",
    ),
    "empty_message": error(
        "Message without text", "The turn is left out, or says nothing: the chat reads as if nobody had answered."
    ),
    "stray_keys": error(
        "Stray keys beside role and content",
        "Text under them is lost to every reader that takes `content` alone; that of PersonaMem-v2 puts it together.",
    ),
    "dropped_text": error(
        "Text that no reader takes",
        "It stands beside the messages or under a key that describes one, so it is in no prompt; what it tells is "
        "lost.",
    ),
    "unknown_role": error(
        "Unknown role", "No chat template has it: the whole history cannot be used."
    ),
    "message_format": error(
        "Message that is no object with role and text", "The whole history cannot be used."
    ),
    "second_system": error(
        "System message after the first place", "Most chat templates refuse it; a persona card may stand there."
    ),
    "no_user": error("History without a user's message", "There is nobody to know anything about."),
    "role_order": warning(
        "Assistant turns in a row, or one at the beginning",
        "A turn may be lost between them; templates that need alternation refuse it.",
    ),
    "odd_text": warning(
        "Text that looks like a leftover",
        "Tokens of a chat template, placeholders or broken characters teach the model to expect them.",
    ),
    "disguised_text": error(
        "Text that is not what it looks like",
        "Letters of another alphabet and characters without ink: the model reads other tokens than the person who "
        "looked the data over.",
    ),
    "repeated_turns": warning(
        "Turns that are in one history twice",
        "A part of the chat was put in twice: it costs tokens, and tells nothing new.",
    ),
    "unused_history": warning(
        "History that no row links", "It is not trained on; a link may be wrong."
    ),
    # --------------------------------------------------------------------------------------------------------- secrets
    "secret": error(
        "Secret that looks real",
        "A model may repeat what it has read: real numbers and keys have to be replaced before anybody trains on them.",
    ),
    "real_phone": warning(
        "Phone number that somebody may have", "A model may repeat it; numbers with 555 are nobody's."
    ),
    "real_domain": warning(
        "E-mail address of a domain that can exist", "The address may be a person's; example.com is nobody's."
    ),
}  # fmt: skip


def default_allowance(check: str) -> int | None:
    """Cases of a check that are allowed where the config says nothing; None is any number."""
    return 0 if CHECKS[check].severity == "error" else None

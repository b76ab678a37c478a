"""A whole audit: rows, options, histories, evidence, leaks, and what of it is too much to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from itertools import chain

from rft.auditing.between_histories import odd_lengths, repeated_histories
from rft.auditing.config import AuditConfig
from rft.auditing.findings import Case, Report, gather
from rft.auditing.histories import WINDOW_TOKENS, Job, counter_of, read_histories, without_folder
from rft.auditing.leaks import Rate, leak_cases, leak_rates, told_of
from rft.auditing.options import check_texts
from rft.auditing.rows import clusters_in_two_splits, duplicates, misattributed, near_duplicates
from rft.auditing.sources import Source, layout_of, open_sources, unused_histories
from rft.auditing.style import style_rates
from rft.auditing.texts import texts_of_rows
from rft.config import ModelConfig
from rft.records import Question

HAS_WINDOWS = ("personamem_v2", "personamem_v1")
"""Formats whose histories have a length that the data set names."""


def audit(config: AuditConfig, *, named: Collection[str] = (), progress: bool = False) -> Report:
    """Reads the data set that `config.data` names and reports on it.

    Args:
        named: what the user has set. Without `data.format` and `data.window`, both are told from the files at
            `data.source`; with `model`, the model's tokenizer counts tokens.
        progress: show a bar.

    Raises:
        ValueError: a source, a tokenizer, a model or a setting that cannot be used.
    """
    config.audit.check_names()
    form, windows = layout_of(config.data.source)
    layout = None if "data.format" in named else form, [] if "data.window" in named else windows
    sources = open_sources(config.data, layout)
    tokenizer = tokenizer_of(config, "model" in named)
    counter_of(tokenizer)  # refused before histories are read
    first = sources[0]
    questions = [question for split in first.questions.values() for question in split]
    rates = leak_rates(first.dataset, questions, config.audit)
    skipped: list[str] = []
    styles = list(style_rates(first.dataset, questions, config.audit.kind_margin))
    cases = [*row_cases(config, first, questions), *leak_cases(rates)]
    cases += [Case(check="style_leak", detail=told_of(rate)) for rate in styles]
    for source in sources:
        seen = set(cases)
        cases += [case for case in source.cases if case not in seen]  # of another window: its own links alone
        cases += history_cases(config, source, tokenizer, progress, skipped)
    asked = options_only_rates(config, first, questions, skipped)
    cases += [options_only_case(rate) for rate in asked if rate.is_leak]
    if tokenizer is None:
        skipped.append("tokens are words, digits and punctuation marks: audit.tokenizer names no tokenizer")
    return Report(
        data=config.data.source,
        name=" and ".join(source.dataset.name for source in sources),
        findings=gather(cases, config.audit),
        counts=counts_of(first),
        rates=[rate.as_dict() for rate in (*rates, *styles, *asked)],
        skipped=tuple(skipped),
        settings=asdict(config.audit),
    )


def options_only_rates(
    config: AuditConfig, source: Source, questions: Sequence[Question], skipped: list[str]
) -> list[Rate]:
    """What a model reaches with the options alone; why none is asked goes to `skipped`."""
    if not any(question.incorrect_answers for question in questions):
        skipped.append(
            "length_leak, word_leak, style_leak, letter_imbalance, options_only_leak: no question has options"
        )
        return []
    if not config.uses_endpoint and not config.audit.options_only:
        skipped.append(
            "options_only_leak: no model is asked; name one with compare.endpoint.model=..., or set "
            "audit.options_only=true for the local one"
        )
        return []
    # Loads an engine or a client, which an audit of files alone does without.
    from rft.auditing.options_only import ask_options_only

    return [ask_options_only(config, source.dataset.config)]


def options_only_case(rate: Rate) -> Case:
    return Case(check="options_only_leak", detail=told_of(rate))


def tokenizer_of(config: AuditConfig, model_is_named: bool) -> ModelConfig | None:
    if config.audit.tokenizer is not None:
        return ModelConfig(model_name_or_path=config.audit.tokenizer)
    return config.model if model_is_named else None


def row_cases(config: AuditConfig, source: Source, questions: Sequence[Question]) -> Iterator[Case]:
    """What the rows tell without any history."""
    return chain(
        clusters_in_two_splits(source.questions),
        duplicates(questions),
        near_duplicates(questions, config.audit.near_duplicate),
        misattributed(questions),
        check_texts(questions),
        texts_of_rows(questions),
    )


def history_cases(
    config: AuditConfig, source: Source, tokenizer: ModelConfig | None, progress: bool, skipped: list[str]
) -> list[Case]:
    """What the histories of one window tell; why there are none goes to `skipped`."""
    data = source.dataset.config
    limit = config.audit.max_history_tokens
    if limit is None and data.format in HAS_WINDOWS:
        limit = int(WINDOW_TOKENS[source.window] * (1 + config.audit.budget_slack))
    job = Job(data=data, settings=config.audit, tokenizer=tokenizer, limit=limit)
    try:
        facts = read_histories(source, job, progress)
    except ValueError as error:
        skipped.append(f"histories of {source.dataset.name}: none can be read")
        return [Case(check="history_unusable", detail=without_folder(str(error), data.source))]
    first_row: dict[str, Question] = {}
    for question in chain.from_iterable(source.questions.values()):
        first_row.setdefault(question.context_id, question)
    cases = [case for one in facts for case in one.cases]
    found = [*cases, *repeated_histories(facts, first_row), *unused_histories(source)]
    return [*found, *odd_lengths(facts)] if data.format == "personamem_v2" else found


def counts_of(source: Source) -> dict[str, dict[str, int]]:
    """Rows and clusters of each split, then rows by each value of each breakdown."""
    questions = [question for split in source.questions.values() for question in split]
    counts = {
        "rows": {name: len(split) for name, split in source.questions.items()},
        "clusters": {name: len({q.cluster for q in split}) for name, split in source.questions.items()},
    }
    for tag in source.dataset.breakdowns:
        values = Counter(question.tags[tag] for question in questions if tag in question.tags)
        if values:
            counts[tag] = dict(sorted(values.items()))
    return counts

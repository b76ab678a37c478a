"""How often a model finds the right option when it is shown nothing else: the evaluation's own control."""

from __future__ import annotations

from dataclasses import replace

from rft.auditing.config import AuditConfig
from rft.auditing.leaks import Rate
from rft.config import DataConfig
from rft.eval.comparison import Comparison
from rft.eval.config_check import check_comparison
from rft.telemetry.provenance import provenance

SYSTEM = "options_only"


def ask_options_only(config: AuditConfig, data: DataConfig) -> Rate:
    """Asks the endpoint, or the local model, `eval.num_questions` questions of `eval.split`; answers are kept in
    `output_dir`, as those of rft/evaluate.py.

    Raises:
        ValueError: a model, an endpoint or a split that cannot be used.
    """
    config = replace(config, data=data, system=SYSTEM)
    check_comparison(config)
    comparison = Comparison(config)
    try:
        comparison.ask_systems()
        table = comparison.make_table(provenance())
    finally:
        comparison.close()
    result = next(row.result for row in table.systems if row.system == SYSTEM and row.model == config.label)
    chance = result.chance if result.chance is not None else 0.0
    return Rate(
        rule=config.label,
        kind="options alone",
        n=result.overall.n,
        rate=result.overall.accuracy,
        low=result.overall.low,
        high=result.overall.high,
        chance=chance,
        most=chance + config.audit.kind_margin,
    )

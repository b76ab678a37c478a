"""Looks a data set over before anybody trains on it, and writes what it finds as one page and one JSON file.

    python rft/audit.py out
    python rft/audit.py out audit.allowed.evidence_missing=511 --output checkpoints/audit
    python rft/audit.py out configs/qwen3_4b.yaml model.model_name_or_path=checkpoints/demo_sft

Layout and windows are told from the files. Exit status 0: fit to train on. 1: not fit, some finding is over what is
allowed. 2: a user's mistake, in one line.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rft.auditing.audit import audit
from rft.auditing.checks import CHECKS
from rft.auditing.config import AuditConfig
from rft.auditing.findings import Report
from rft.config_parser import parse_config, parse_tree
from rft.plain_text import without_control_sequences
from rft.process_exit import refused, status_of
from rft.reporting.audit_page import render_audit

FIT, NOT_FIT = 0, 1


def main(argv: list[str] | None = None) -> int:
    """Parses, looks, writes; returns the exit status."""
    parser = argparse.ArgumentParser(description="Looks a data set over before anybody trains on it.")
    parser.add_argument("data", help="a folder or file in any layout that data.format names")
    parser.add_argument("config", nargs="?", help="a yaml file, such as configs/qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    parser.add_argument("--output", type=Path, default=Path("audit"), help="folder of audit.html and audit.json")
    arguments = parser.parse_intermixed_args(argv)
    try:
        report = run(arguments.data, arguments.config, arguments.overrides, arguments.output)
        write(report, arguments.output)
    except ValueError as error:
        return refused(error)
    print(as_lines(report))
    print(f"{arguments.output / 'audit.html'}\n{arguments.output / 'audit.json'}")
    return FIT if report.is_fit else NOT_FIT


def run(data: str, config: str | None, overrides: list[str], output: Path) -> Report:
    """The audit of `data` under a yaml file, if any, and overrides; a model's answers are kept below `output`."""
    if config is not None and not config.endswith((".yaml", ".yml")):
        overrides = [config, *overrides]
        config = None
    overrides = [f"output_dir={json.dumps(str(output))}", *overrides, f"data.source={json.dumps(data)}"]
    settings: AuditConfig = (
        parse_tree(AuditConfig, {}, overrides) if config is None else parse_config(AuditConfig, config, overrides)
    )
    named = {override.partition("=")[0] for override in overrides}
    if config is not None or any(key.startswith("model.") for key in named):
        named.add("model")
    return audit(settings, named=named, progress=sys.stderr.isatty())


def write(report: Report, folder: Path) -> None:
    """Raises ValueError where the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report.as_dict(), indent=1, ensure_ascii=False)
        (folder / "audit.json").write_text(f"{text}\n", encoding="utf-8", errors="replace")
        (folder / "audit.html").write_text(render_audit(report), encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValueError(f"--output {folder} cannot be written ({error.strerror}); name another folder") from None


def as_lines(report: Report) -> str:
    """The findings for a terminal, the first case of each."""
    lines = [f"{report.name}: {'fit' if report.is_fit else 'not fit'} to train on"]
    for finding in report.findings:
        first = finding.cases[0]
        mark = "NOT FIT" if finding.is_over else finding.severity
        lines.append(f"  {mark:8}{finding.check} {finding.count}: {CHECKS[finding.check].title}")
        lines.append(f"          {first.place}: {first.detail}")
    lines += [f"  skipped {line}" for line in report.skipped]
    return "\n".join(" ".join(without_control_sequences(line).splitlines()) for line in lines)


if __name__ == "__main__":
    sys.exit(status_of(main))

"""Writes docs/configuration.md from the config classes: every key, its type, its default and what it does.

    python docs/make_configuration.py

A test compares the page with what this would write.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

from rft.auditing.config import AuditConfig
from rft.cold_start.config import SftConfig
from rft.config import Config
from rft.eval.config import ComparisonConfig
from rft.making.config import MakingConfig, ModelSource

PAGE = Path(__file__).with_name("configuration.md")

HEAD = """\
# Configuration

One yaml file per run; `base: other.yaml` lays it over another one, and `section.key=value` on the command line over
both. A key that is unknown, of the wrong type or out of range is refused with the nearest right one. `--dry-run` prints
the resolved config. This page is written by `python docs/make_configuration.py` from the classes that read the file.
"""

TREES = [
    ("rft/train.py", Config),
    ("rft/evaluate.py, which reads the same file: what it adds", ComparisonConfig),
    ("rft/audit.py, which reads the same file: what it adds", AuditConfig),
    ("rft/sft.py", SftConfig),
    ("rft/make_data.py llm", MakingConfig),
    ("rft/make_data.py llm: each of `models`", ModelSource),
]


def page() -> str:
    known: set[tuple[str, type]] = set()
    parts = [HEAD]
    for title, tree in TREES:
        parts.append(f"\n## {title}\n")
        parts += section_parts(tree, "", known)
    return "".join(parts)


def section_parts(schema: type, prefix: str, known: set[tuple[str, type]]) -> list[str]:
    """The section's table, then those of the sections in it; one that stood before is left out."""
    fields = dataclasses.fields(schema)
    types = field_types(schema)
    parts: list[str] = []
    if (prefix, schema) in known:
        return []
    known.add((prefix, schema))
    if prefix:
        parts.append(f"\n### {prefix.rstrip('.')}\n\n{first_paragraph(schema)}\n")
    rows = [row(field, prefix, types) for field in fields if not is_section(field)]
    if rows:
        parts.append("\n| key | default | what it does |\n| --- | --- | --- |\n" + "".join(rows))
    for field in fields:
        if is_section(field):
            parts += section_parts(section_of(field), f"{prefix}{field.name}.", known)
    return parts


def is_section(field: dataclasses.Field[Any]) -> bool:
    return field.default_factory is not dataclasses.MISSING and dataclasses.is_dataclass(field.default_factory)


def section_of(field: dataclasses.Field[Any]) -> type:
    factory: Any = field.default_factory
    return factory


def row(field: dataclasses.Field[Any], prefix: str, types: dict[str, tuple[str, str]]) -> str:
    kind, text = types[field.name]
    if field.default is not dataclasses.MISSING:
        default = field.default
    else:
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else "(needed)"
    shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    return f"| `{prefix}{field.name}` <br> {kind} | {escaped(shown)} | {escaped(text)} |\n"


def field_types(schema: type) -> dict[str, tuple[str, str]]:
    """Type and text of each field, as the class has them in its source; inherited ones too."""
    found: dict[str, tuple[str, str]] = {}
    for base in reversed(schema.__mro__[:-1]):
        (definition,) = ast.parse(inspect.cleandoc(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, after in zip(definition.body, [*definition.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                text = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                )
                found[statement.target.id] = (
                    plain_type(ast.unparse(statement.annotation)),
                    " ".join(str(text).split()),
                )
    return found


def plain_type(annotation: str) -> str:
    """For a reader of yaml."""
    words = {
        "PositiveInt": "count from 1", "NonNegativeInt": "count", "PositiveFloat": "number above 0",
        "NonNegativeFloat": "number from 0", "ShareBelowOne": "number in [0, 1)", "ShareOrZero": "number in [0, 1]",
        "Share": "number in (0, 1]", "PositiveSeconds": "seconds", "Seconds": "seconds", "Text": "text",
        "ReportTo": "wandb, trackio, tensorboard, a list of them, none",
        "bool": "true, false", "None": "null", "Auto": "auto", "float": "number", "int": "whole number", "str": "text",
    }  # fmt: skip
    literals = re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace("'", ""), annotation)
    named = re.sub(r"\b(" + "|".join(words) + r")\b", lambda found: words[found[1]], literals)
    return escaped(named.replace(" | ", ", "))


def first_paragraph(schema: type) -> str:
    return " ".join((inspect.getdoc(schema) or "").split("\n\n")[0].split())


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

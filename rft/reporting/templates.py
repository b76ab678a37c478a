"""Pages of one look: each template extends base.html.j2, and what people and models wrote is text in all of them.

A page forbids all network and, unless it names its own, all scripts. No control character of a text is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rft.plain_text import CONTROL, without_control_sequences, without_half_surrogates


def render(template: str, **values: Any) -> str:
    """The page of a template of this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
    )
    # Labels of charts come as markup.
    return without_half_surrogates(CONTROL.sub("", environment.get_template(template).render(values)))[0]


def printable(value: Any) -> Any:
    """What a template shows of a value: texts without control sequences, each by itself."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return without_control_sequences(value) if is_text else value


def shortened(text: str, length: int) -> str:
    """The beginning of a text, and how much more there is."""
    return text if len(text) <= length else f"{text[:length]} ... ({len(text) - length:,} more characters)"

"""The page of a review: one question after the other, its history behind it, a verdict for each.

It is the one page with a script. Its content security policy allows that script alone, by its hash, and no network.
What models wrote reaches the page as data, and the script shows it as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from rft.reporting.templates import render


def render_review(material: dict[str, Any]) -> str:
    """The page, one file (`rft.auditing.review.review_material`)."""
    script = Path(__file__).with_name("review.js.j2").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        "review.html.j2",
        title=f"review of {material['data_set']}",
        num_questions=len(material["questions"]),
        policy=Markup(f"; script-src 'sha256-{digest}'"),
        material=Markup(as_data(material)),
        script=Markup(script),
    )


def as_data(material: dict[str, Any]) -> str:
    """JSON that ends no element: in a script, `<` begins the end of it."""
    return json.dumps(material, ensure_ascii=True).replace("<", "\\u003c")

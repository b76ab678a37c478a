"""A page with a few candidates, to be judged by eye before much is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment

from rft.making.candidates import Candidate

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>rft: preview of made data</title>
<style>
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
article { border: 1px solid #8886; border-radius: 6px; padding: 0 1rem 1rem; margin: 1.5rem 0; }
.message { white-space: pre-wrap; border-left: 3px solid #8886; padding-left: .7rem; margin: .5rem 0; }
.user { border-color: light-dark(#2a6fdb, #7fb0ff); }
.right { font-weight: 600; }
.passes { color: light-dark(#15803d, #4ade80); } .dropped { color: light-dark(#c2410c, #fb923c); }
.soft { opacity: .7; }
</style>
</head>
<body>
<h1>Preview: {{ candidates | length }} candidates</h1>
<p>{{ passed }} pass every filter. What is made here is kept: <code>create</code> does not pay for it again. Of the
options the right one stands first, in bold; each has its number of characters behind it.</p>
{% for one in candidates %}
<article>
<h2>{{ one.slot.id }}: {{ one.slot.cell }}
{% if one.problem %}<span class="dropped">dropped: {{ one.problem }}</span>
{% else %}<span class="passes">passes</span>{% endif %}</h2>
<p class="soft">{{ one.slot.scenario }}; the right answer is to be number {{ one.slot.rank + 1 }} of 4 by length</p>
{% if one.subject %}
<p>{{ one.subject.person.line }}</p>
<p>{% if one.subject.secret %}Secret: {{ one.subject.topic }}, {{ one.subject.secret }}
{% else %}{% if one.slot.cell.who == "others" %}About {{ one.subject.other_name }}: {% endif -%}
{{ one.subject.preference }}{% if one.slot.cell.variant == "updated" %} (before: {{ one.subject.opposite }}){% endif %}
{% endif %}</p>
{% endif %}
{% for talk in one.talks %}
<details {% if loop.last %}open{% endif %}><summary>conversation {{ loop.index }} of {{ one.talks | length }}</summary>
{% for message in talk %}<div class="message {{ message.role }}" dir="auto">{{ message.content }}</div>{% endfor %}
</details>
{% endfor %}
{% if one.question %}
<p dir="auto"><b>{{ one.question.query }}</b></p>
<ol>
{% for option in one.question.options %}
<li dir="auto" {% if loop.first %}class="right"{% endif %}>
{{ option }} <span class="soft">({{ option | length }})</span></li>
{% endfor %}
</ol>
{% if one.blind is not none %}<p class="soft">found without the history: {{ "%.0f%%" | format(100 * one.blind) }}</p>
{% endif %}
{% endif %}
</article>
{% endfor %}
</body>
</html>
"""


def preview_page(candidates: Sequence[Candidate]) -> str:
    template: Any = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
    return str(template.render(candidates=candidates, passed=sum(one.passes for one in candidates)))

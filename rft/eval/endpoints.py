"""Endpoints as configs name them."""

from __future__ import annotations

import os
import re

from rft.chat.endpoint import Endpoint
from rft.chat.gate import Gate
from rft.chat.server_habits import Habits
from rft.eval.config import EndpointConfig

USUAL_VARIABLE = EndpointConfig().api_key_env
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""A key has other letters, too: whoever writes one into a config is told so, without a copy of it."""


def key_problem(config: EndpointConfig, section: str) -> str | None:
    """Why an endpoint cannot be asked: the key that it needs is not there.

    Args:
        section: the config's dotted key.
    """
    variable = config.api_key_env
    if config.model is None:
        return None
    if variable is not None and not VARIABLE.fullmatch(variable):
        return (
            f"{section}.api_key_env names an environment variable, in capital letters; put the key into that variable "
            "and its name here"
        )
    if variable is not None and os.environ.get(variable, "").strip():
        return None
    if variable not in (None, USUAL_VARIABLE):
        return f"{section}.api_key_env: {variable} is not set; set it, or write null for an endpoint that needs no key"
    if config.base_url is None and not os.environ.get("OPENAI_BASE_URL", "").strip():
        return f"set {USUAL_VARIABLE}, or {section}.base_url for an endpoint that needs no key"
    return None


def open_endpoint(config: EndpointConfig, gate: Gate | None = None) -> Endpoint:
    return Endpoint(
        config.base_url,
        str(config.model),
        timeout=config.timeout,
        max_retries=config.max_retries,
        requests_per_minute=config.requests_per_minute,
        options=config.options,
        api_key_header=config.api_key_header,
        api_key_env=config.api_key_env,
        habits=Habits(
            temperature="temperature" not in config.omit,
            seed="seed" not in config.omit,
            system_role=config.system_role,
            alternating_roles=config.alternating_roles,
            stream=config.stream,
        ),
        patience=max(8, 2 * config.concurrency),
        gate=gate,
    )

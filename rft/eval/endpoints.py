"""Endpoints as configs name them."""

from __future__ import annotations

from rft.chat.endpoint import Endpoint
from rft.chat.gate import Gate
from rft.chat.server_habits import Habits
from rft.eval.config import EndpointConfig


def open_endpoint(config: EndpointConfig, gate: Gate | None = None) -> Endpoint:
    return Endpoint(
        config.base_url,
        str(config.model),
        timeout=config.timeout,
        max_retries=config.max_retries,
        requests_per_minute=config.requests_per_minute,
        options=config.options,
        api_key_header=config.api_key_header,
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

"""A vLLM server for `rollout.engine: server`, from the config of the run that will use it.

    python rft/serve.py configs/qwen3_4b.yaml --port 8000
    python rft/serve.py configs/qwen3_4b.yaml --port 8000 -- --tensor-parallel-size 4
    python rft/train.py configs/qwen3_4b.yaml rollout.engine=server rollout.servers=[http://127.0.0.1:8000]

Becomes vLLM's server; what stands after `--` is handed to it. Listens on this machine alone unless `--host` says more:
whoever reaches a server can change its weights. With VLLM_API_KEY set for server and trainer, every path but /health
asks for it, which travels in plain text: keep servers inside a network of your own. Exit status 2 and one line on a
user's mistake.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from rft.config import Config, load_config
from rft.extras import need
from rft.process_exit import FINISHED, leave, refused


def main(argv: list[str] | None = None) -> int:
    """Becomes the server; returns only with `--print` or a mistake."""
    parser = argparse.ArgumentParser(description="Start a vLLM server for a run with rollout.engine=server.")
    parser.add_argument("config", help="the yaml file of the run")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="the overrides of the run")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--print", action="store_true", help="show the command, and start nothing")
    words, vllm_options = split_at_dashes(argv)
    arguments = parser.parse_intermixed_args(words)
    try:
        config = load_config(arguments.config, arguments.overrides)
        need("vllm", "rft/serve.py")
        command, environment = with_addresses(config, arguments.host, arguments.port, vllm_options)
    except ValueError as error:
        return refused(error)
    print(shlex.join(command), flush=True)
    if not arguments.print:
        os.execvpe(command[0], command, environment)
    return FINISHED


def split_at_dashes(argv: list[str] | None) -> tuple[list[str] | None, list[str]]:
    """Ours, and what stands after `--`."""
    words = sys.argv[1:] if argv is None else argv
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def with_addresses(config: Config, host: str, port: int, more: list[str]) -> tuple[list[str], dict[str, str]]:
    """The command and its environment.

    Raises:
        ValueError: a model that cannot be read, or a KV cache that no sequence fits in.
    """
    import torch

    from rft.models import read_settings
    from rft.rollout.vllm_options import check_kv_cache
    from rft.serving.command import server_command, server_environment
    from rft.tasks.registry import engine_window

    read_settings(config.model)
    if not torch.cuda.is_available():
        check_kv_cache(config.model, config.rollout, engine_window(config))
    return server_command(config, host, port, more), server_environment(config, os.environ)


if __name__ == "__main__":
    leave(main())

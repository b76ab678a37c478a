"""The command that a server is started with."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from rft import serve
from rft.config import load_config
from rft.serving.command import server_environment

ROOT = Path(__file__).parents[2]
DEMO = [str(ROOT / "configs" / "demo.yaml"), f"model.model_name_or_path={ROOT / 'checkpoints' / 'demo_sft'}"]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert serve.main([*DEMO, "--print", *words]) == 0
    return shlex.split(capsys.readouterr().out)


def test_it_samples_as_the_engine_of_the_trainer(capsys: pytest.CaptureFixture[str]):
    words = printed(capsys, "--port", "8123", "rollout.vllm_max_num_seqs=7")
    pairs = dict(pairwise(words))
    assert pairs["--port"] == "8123" and pairs["--host"] == "127.0.0.1"
    assert pairs["--max-num-seqs"] == "7" and pairs["--dtype"] == "float32"
    assert pairs["--logprobs-mode"] == "processed_logprobs" and pairs["--generation-config"] == "vllm"
    assert pairs["--worker-extension-cls"] == "rft.serving.worker.WorkerExtension"
    assert {"--enable-prefix-caching", "--enforce-eager", "--no-enable-chunked-prefill"} <= set(words)


def test_a_run_with_adapters_has_servers_with_room_for_one(capsys: pytest.CaptureFixture[str]):
    adapter = ("model.lora.r=20", "rollout.lora=adapter")
    words = printed(capsys, *adapter)
    assert "--enable-lora" in words and dict(pairwise(words))["--max-lora-rank"] == "32"
    assert "--enable-lora" not in printed(capsys, "model.lora.r=20")
    assert server_environment(load_config(DEMO[0], adapter), {})["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in server_environment(load_config(DEMO[0]), {})


def test_options_of_vllm_s_own_come_last(capsys: pytest.CaptureFixture[str]):
    assert printed(capsys, "--", "--tensor-parallel-size", "4")[-2:] == ["--tensor-parallel-size", "4"]


def test_vllm_knows_every_option(capsys: pytest.CaptureFixture[str]):
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    words = printed(capsys)
    arguments = words[words.index("--model") :]
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    assert parsed.enable_scale_out and parsed.enable_prompt_tokens_details and parsed.enforce_eager


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert serve.main([*DEMO, "rollout.vllm_kv_cache_gb=0.000001"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: rollout.vllm_kv_cache_gb") and "\n" not in said

"""New weights for a running vLLM model: the engine in the trainer and a server's worker take them in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor


def load_weights(model: Any, weights: Iterable[tuple[str, Tensor]], model_config: Any) -> None:
    """Puts checkpoint-format weights into a running vLLM model, in place, and checks that all of it was filled.

    The steps are those of vLLM's `GPUModelRunner.reload_weights`, which hides what was loaded. After them a tied
    head is packed again: on a CPU it keeps a repacked copy of the embedding it shares, and the reload, which sees
    the embedding only, leaves that copy as it was.
    """
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

    names = [name for name, _ in model.named_parameters()]  # a tied head is not among them
    sent: dict[str, int] = {}
    stream_failed = False

    def counted() -> Iterator[tuple[str, Tensor]]:
        nonlocal stream_failed
        try:
            for name, tensor in weights:
                sent[name] = tensor.numel()
                yield name, tensor
        except ValueError:
            stream_failed = True
            raise

    initialize_layerwise_reload(model)
    # Only now do the parameters have their checkpoint sizes; on a CPU the packed ones were emptied.
    expected = {name: checkpoint_size(model, name) for name in names}
    try:
        loaded = model.load_weights(counted())
    except ValueError as error:
        if stream_failed:  # the policy's own refusal, such as an adapter that has no plain weight
            raise
        raise RuntimeError(f"weight sync: vLLM cannot place '{list(sent)[-1]}' ({error})") from error
    finalize_layerwise_reload(model, model_config)
    unfilled = sorted(set(expected) - loaded)
    if unfilled or sum(sent.values()) != sum(expected.values()):
        raise RuntimeError(
            f"weight sync sent {sum(sent.values())} of the engine's {sum(expected.values())} numbers; "
            f"without any: {unfilled or 'none'}; last sent: {list(sent)[-3:]}"
        )
    if model_config.hf_config.tie_word_embeddings:
        model.lm_head.quant_method.process_weights_after_loading(model.lm_head)


def checkpoint_size(model: Any, name: str) -> int:
    """Numbers a checkpoint holds for an engine parameter: all but the rows that vLLM pads a vocabulary with."""
    parameter = model.get_parameter(name)
    rows = getattr(model.get_submodule(name.rpartition(".")[0]), "org_vocab_size", parameter.shape[0])
    return int(parameter.numel() // parameter.shape[0] * rows)

"""Checkpoints that from_pretrained and vLLM load as they are, and that a run continues from.

    OUTPUT_DIR/checkpoint-50/
        config.json, model.safetensors, tokenizer...    the policy in transformers' format, LoRA merged
        adapter/                                        the LoRA adapter by itself, where there is one
        state/                                          accelerate's or DeepSpeed's training state
        rft_config.yaml                                 the settings
        trainer_state.json                              step, batch, best accuracy so far
        parallel.json                                   what `state` was spread over
        eval.json, predictions.jsonl                    what the hooks measured of these weights
        files.json                                      size and hash of all of them
    OUTPUT_DIR/best -> checkpoint-50

All of a run's state is kept. On a CPU the steps after a resume are those of an uninterrupted run to the bit; on a GPU
the kernels themselves do not repeat the last bit (flash attention's backward pass adds up with atomics).
"""

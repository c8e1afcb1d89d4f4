"""A model folder → the loaded model or its tokenizer; whatever the libraries raise becomes one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poem_build.errors import ModelFileError


def load_model(folder: Path, dtype: str) -> Any:
    """The causal language model of a folder, in the given number format (`auto`: the one it is stored in).

    Raises `ModelFileError` if the folder holds none, a damaged one, or weights that were quantized: they cannot be
    trained, merged into or converted.
    """
    from transformers import AutoModelForCausalLM

    _refuse_quantized(folder)
    with _translated(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer; raises `ModelFileError` if it holds none, or a damaged one."""
    from transformers import AutoTokenizer

    with _translated(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if not tokenizer.encode("家", add_special_tokens=False):  # the library makes an empty one of no files at all
            raise ValueError("its tokenizer reads 「家」 as nothing; tokenizer.json or tokenizer.model is missing")
        return tokenizer


def load_adapted(model: Any, folder: Path) -> Any:
    """The model with the folder's adapter on it; raises `ModelFileError` if the two do not fit."""
    from peft import PeftModel

    with _translated(folder):
        return PeftModel.from_pretrained(model, folder)


def _refuse_quantized(folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return  # the library says what is wrong with it
    if isinstance(config, dict) and (how := config.get("quantization_config")):
        kind = how.get("quant_method") if isinstance(how, dict) else how
        raise ModelFileError(
            f"{folder}/config.json: quantization_config: the weights are quantized ({kind}); give the base as it was "
            "before, in bfloat16, or a GGUF"
        )


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # tokenizers, for one, raises nothing narrower
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(f"{folder}: cannot be loaded: {told}; make or fetch it again") from error

"""A model folder → the loaded model or its tokenizer; whatever the libraries raise becomes one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poem_build.errors import ModelFileError


def load_model(folder: Path, dtype: str) -> Any:
    """The causal language model of a folder, in the given number format (`auto`: the one it is stored in).

    Raises `ModelFileError` if the folder holds none, or a damaged one.
    """
    from transformers import AutoModelForCausalLM

    with _translated(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer; raises `ModelFileError` if it holds none, or a damaged one."""
    from transformers import AutoTokenizer

    with _translated(folder):
        return AutoTokenizer.from_pretrained(folder)


def load_adapted(model: Any, folder: Path) -> Any:
    """The model with the folder's adapter on it; raises `ModelFileError` if the two do not fit."""
    from peft import PeftModel

    with _translated(folder):
        return PeftModel.from_pretrained(model, folder)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(f"{folder}: cannot be loaded: {told}; make or fetch it again") from error

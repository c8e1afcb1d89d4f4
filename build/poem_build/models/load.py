"""A model folder → the loaded model or its tokenizer; whatever the libraries raise becomes one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poem_build.errors import ModelFileError
from poem_build.models import tensors, unigram
from poem_build.models.device import Asked, asked_on, device_of, ran_out
from poem_build.recipe.schema import Recipe


def load_model(folder: Path, dtype: str, device: str = "cpu", quantization: Any = None) -> Any:
    """The causal language model of a folder, in the given number format (`auto`: the one it is stored in).

    It is put on PyTorch's `device`; with a `quantization` (bitsandbytes') its matrices are rounded as they are read.

    Raises `ModelFileError` if the folder holds none, a damaged one, or weights that were quantized: they cannot be
    trained, merged into or converted.
    """
    from transformers import AutoModelForCausalLM

    refuse_quantized(folder)
    with translated(folder):
        if device == "cpu" and quantization is None:
            return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
        where: dict[str, Any] = {"device_map": {"": device}, "quantization_config": quantization}
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False, **where)


def to_ask(recipe: Recipe, folder: Path) -> Asked:
    """How the folder's model is asked on this machine: in float32, but on a GPU as its free memory allows."""
    chosen = device_of(recipe)
    if chosen.torch != "cuda":
        return Asked(chosen.torch)
    import torch

    torch.cuda.empty_cache()  # what an earlier model left is free
    parameters = sum(weight.numel() for weight in skeleton(folder).parameters())
    return asked_on(chosen, parameters, torch.cuda.mem_get_info()[0])


def skeleton(folder: Path) -> Any:
    """The model of a folder without its weights: modules, shapes and the number format that it is stored in."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    refuse_quantized(folder)
    with translated(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            kind = config.dtype or _first_float(folder)
            model = AutoModelForCausalLM.from_config(config, dtype=kind, trust_remote_code=False)
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
        return model


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer; raises `ModelFileError` if it holds none, or a damaged one."""
    from transformers import AutoTokenizer

    with translated(folder):
        tokenizer = unigram.tokenizer_of(folder) or AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if not tokenizer.encode("家", add_special_tokens=False):  # the library makes an empty one of no files at all
            raise ValueError("its tokenizer reads 「家」 as nothing; tokenizer.json or tokenizer.model is missing")
        return tokenizer


def load_adapted(model: Any, folder: Path) -> Any:
    """The model with the folder's adapter on it, or as the folder has it where all weights were trained.

    Raises `ModelFileError` if the two do not fit.
    """
    from peft import PeftModel

    if is_whole_model(folder):
        return load_model(folder, str(model.dtype).removeprefix("torch."), str(model.device))
    with translated(folder):
        return PeftModel.from_pretrained(model, folder)


def is_whole_model(folder: Path) -> bool:
    """Whether what a training left are all weights and no adapter."""
    return (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file()


def _first_float(folder: Path) -> Any:
    """What transformers takes for the number format where the config tells none."""
    import torch

    kinds = [place.dtype for place in tensors.places(folder).values() if place.dtype in tensors.FLOATS]
    return getattr(torch, tensors.FLOATS[kinds[0]]) if kinds else None


def refuse_quantized(folder: Path) -> None:
    """Raises `ModelFileError` if the folder's config says that its weights are quantized."""
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


def refuse_own_code(error: Exception, config: Path) -> None:
    """Raises `ModelFileError` where transformers would have had to run the code that the config names."""
    if "trust_remote_code" in str(error):
        raise ModelFileError(
            f"{config}: auto_map: its architecture lives in code of its own; not supported, give a base that "
            "transformers knows by itself"
        ) from error


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Whatever the libraries raise of a folder, as one line that names it; that memory ran out is no fault of it."""
    try:
        yield
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:  # tokenizers, for one, raises nothing narrower
        if ran_out(str(error)):
            raise
        refuse_own_code(error, folder / "config.json")
        raise ModelFileError(f"{folder}: cannot be loaded: {reason(error)}; make or fetch it again") from error


def reason(error: Exception) -> str:
    """What the libraries tell in their first two lines: of a field, the second says what is wrong with it."""
    return " ".join(map(str.strip, str(error).strip().splitlines()[:2])).strip() or type(error).__name__

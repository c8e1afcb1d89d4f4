"""A recipe's base → its shape: from its own files where it has any here, else as the recipe has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from poem_build.errors import ModelFileError
from poem_build.models.converter import gguf
from poem_build.models.load import reason, refuse_own_code
from poem_build.recipe.schema import Recipe
from poem_build.recipe.shape import Shape

_CONFIG = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "head_dim": "head_dim",
    "max_position_embeddings": "context",
    "tie_word_embeddings": "tied",
    "num_local_experts": "experts",
    "num_experts": "experts",
    "num_experts_per_tok": "experts_used",
}
"""What transformers calls each, and what we do."""
_GGUF = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "layers",
    "attention.head_count": "heads",
    "attention.head_count_kv": "kv_heads",
    "attention.key_length": "head_dim",
    "context_length": "context",
    "expert_count": "experts",
    "expert_used_count": "experts_used",
    "attention.sliding_window": "window",
}


def shape_of(recipe: Recipe, fetched: Path | None = None) -> Shape | None:
    """The shape of the recipe's base, which lies in `fetched` if it has come from the hub; None where nothing tells it.

    Raises `ModelFileError` for a folder or file that is there and tells none.
    """
    base = recipe.base
    if base.gguf and base.gguf.is_file():
        return of_gguf(base.gguf)
    folder = fetched or base.path
    if folder and (folder / "config.json").is_file():
        return of_folder(folder)
    return recipe.shape or (recipe.pretrain.shape if recipe.pretrain else None)


def of_folder(folder: Path) -> Shape:
    """The shape that the folder's config.json tells."""
    from transformers import AutoConfig

    def read() -> dict[str, Any]:
        whole = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        config = whole.get_text_config()
        found = {
            ours: value for theirs, ours in _CONFIG.items() if (value := getattr(config, theirs, None)) is not None
        }
        wide = found["hidden_size"] * 4
        inner = [getattr(config, name, None) for name in ("moe_intermediate_size", "intermediate_size", "n_inner")]
        if not isinstance(whole.architectures or [], list):
            raise ValueError(f"architectures: {whole.architectures!r} is no list")
        kinds = list(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None) if "sliding_attention" in kinds else None
        return {
            **{"kv_heads": found["heads"], **found},
            "architecture": (whole.architectures or [type(whole).__name__])[0],
            "intermediate_size": next(filter(None, inner), wide),
            "window": window or 0,
            "full_every": kinds.index("full_attention") + 1 if window and "full_attention" in kinds else 1,
            **({"gated": False, "learned_positions": True} if config.model_type == "gpt2" else {}),
        }

    return _translated(read, folder / "config.json")


def of_gguf(path: Path) -> Shape:
    """The shape that the file's metadata and tensors tell."""

    def read() -> dict[str, Any]:
        reader = gguf().GGUFReader(path)
        architecture = reader.get_field("general.architecture").contents()
        fields = {ours: reader.get_field(f"{architecture}.{theirs}") for theirs, ours in _GGUF.items()}
        found = {ours: field.contents() for ours, field in fields.items() if field}
        tensors = {tensor.name: tensor.shape for tensor in reader.tensors}
        return {
            **{"kv_heads": found["heads"], **found},
            "architecture": architecture,
            "vocab_size": int(tensors["token_embd.weight"][1]),
            "tied": "output.weight" not in tensors,
            "gated": any(".ffn_gate" in name for name in tensors),
            "learned_positions": "position_embd.weight" in tensors,
        }

    return _translated(read, path)


def _translated(read: Callable[[], dict[str, Any]], where: Path) -> Shape:
    try:
        return Shape.model_validate(read())
    except ValidationError as error:
        told = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ModelFileError(f"{where}: tells of no model: {told}; give a whole one") from error
    except Exception as error:  # transformers' own kinds, and whatever a value of the wrong type leads to
        refuse_own_code(error, where)
        raise ModelFileError(
            f"{where}: does not tell the model's shape: {reason(error)}; give a whole model"
        ) from error

"""How large a base is, told by its files or by the recipe alone."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from poem_build.errors import ModelFileError
from poem_build.models import source
from poem_build.models.shapes import of_folder, of_gguf, shape_of
from poem_build.recipe.presets import count
from poem_build.recipe.schema import RECIPES, load_recipe, recipe_names
from support.tiny_gguf import write_tiny_gguf

PUBLISHED = {
    **{
        "tiny": 4.7,
        "tiny-full": 4.7,
        "rinna-gpt2-small": 110,
        "stablelm-3b": 2795,
        "mixtral-8x22b": 140600,
        "phi-3.5-moe": 41900,
    },
    **{"phi-3.5-mini": 3821, "gpt-oss-20b": 20900, "gemma-2-2b-jpn": 2614, "gemma-2-9b": 9241, "gemma-3-1b": 1000},
    **{"gemma-3-270m": 268, "gemma-3-4b": 3880, "llama-3.1-8b": 8030, "llama-3.1-70b": 70553, "qwen2.5-0.5b": 494},
    **{"qwen2.5-1.5b": 1544, "qwen2.5-3b": 3086, "qwen2.5-7b": 7616, "qwen2.5-14b": 14770, "qwen2.5-32b": 32764},
    **{"qwen2.5-72b": 72706, "qwen2.5-coder-1.5b": 1544, "qwen3-0.6b": 596, "qwen3-4b": 4022, "qwen3-8b": 8191},
    **{"calm3-22b": 22543, "deepseek-r1-distill-qwen-32b-japanese": 32764, "elyza-llama2-7b": 6738},
}
"""Millions of parameters, as its makers' card or the weights' index tells them."""
CONFIGS: dict[str, dict[str, int | None]] = {
    "Qwen2Config": {},
    "MixtralConfig": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "GptOssConfig": {"num_local_experts": 8, "num_experts_per_tok": 4, "head_dim": 64, "num_hidden_layers": 4},
    "Gemma3TextConfig": {"head_dim": 256, "num_hidden_layers": 6, "sliding_window": 64},
    "GPT2Config": {"num_key_value_heads": None},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_tells_its_shape_and_the_shape_its_parameters(name: str, tmp_path: Path) -> None:
    sizes: dict[str, int | None] = {
        "vocab_size": 5000,
        "hidden_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 1024}
    if name != "GPT2Config":
        sizes["intermediate_size"] = 768
    config = getattr(transformers, name)(**{k: v for k, v in (sizes | CONFIGS[name]).items() if v is not None})
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    shape = of_folder(tmp_path)
    assert shape.parameters == pytest.approx(sum(p.numel() for p in model.parameters()), rel=0.01)
    assert (shape.hidden_size, shape.layers, shape.experts) == (512, config.num_hidden_layers, shape.experts)
    assert shape.window == (getattr(config, "sliding_window", 0) or 0) * ("sliding_attention" in str(config))
    assert shape.full_every == {"GptOssConfig": 2, "Gemma3TextConfig": 6}.get(name, 1)


def test_a_gguf_tells_its_shape(tmp_path: Path) -> None:
    shape = of_gguf(write_tiny_gguf(tmp_path / "model.gguf"))
    assert (shape.architecture, shape.layers > 0, shape.gated) == ("llama", True, True)


def test_what_is_at_hand_tells_more_than_the_recipe(tmp_path: Path) -> None:
    tiny = load_recipe("tiny")
    assert tiny.pretrain is not None
    assert shape_of(tiny) == tiny.pretrain.shape == of_folder(Path(str(tiny.base.path)))
    other = source.override(tiny, "somebody/model")
    assert shape_of(other) is None
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(ModelFileError, match=r"config\.json: does not tell the model's shape: .+; give a whole model"):
        shape_of(source.override(tiny, str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_hidden_layers": "x"}, "Validation error for field 'num_hidden_layers': TypeError: .* got str"),
        ({"num_hidden_layers": 99}, r"`num_hidden_layers` \(99\) must be equal to the number of `layer_types`"),
        ({"architectures": 5}, "architectures: 5 is no list"),
        ({"model_type": "mine"}, "model type `mine` but Transformers does not recognize this"),
    ],
)
def test_a_config_that_is_broken_is_told_by_its_field(change: dict[str, object], told: str, tmp_path: Path) -> None:
    config = json.loads((RECIPES / "tiny-base" / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change), "utf-8")
    with pytest.raises(ModelFileError, match=rf"config\.json: does not tell the model's shape: .*{told}") as refused:
        of_folder(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_window_bounds_the_cache_of_all_layers_but_the_full_ones() -> None:
    gemma = load_recipe("gemma-3-270m").shape
    assert gemma is not None
    assert gemma.kv_values(100) == 2 * 256 * 18 * 100
    assert gemma.kv_values(2048) == 2 * 256 * (3 * 2048 + 15 * 512)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_s_count_of_parameters_is_that_of_its_shape(name: str) -> None:
    recipe = load_recipe(name)
    shape = shape_of(recipe)
    assert shape is not None
    assert shape.parameters / 1e6 == pytest.approx(PUBLISHED[name], rel=0.01)
    assert recipe.params == count(shape.parameters) or recipe.shape is None

"""The activations that a plan reckons, beside what PyTorch saves for the backward pass of a small model."""

import warnings
from random import Random
from typing import Any

import peft
import pytest
import torch
import transformers

from poem_build.models.likelihood import answer_losses
from poem_build.models.tokens import Tokens
from poem_build.plan.memory import Training, training_needs
from poem_build.recipe.shape import Shape

RNG = Random("shapes")


def _drawn() -> dict[str, int]:
    """A shape whose widths are all different."""
    heads, kv_heads = RNG.choice([(4, 2), (6, 2), (8, 4)])
    return {
        **{"hidden_size": heads * 8 * RNG.randint(2, 4), "intermediate_size": 8 * RNG.randint(20, 60)},
        **{"layers": RNG.randint(6, 8), "heads": heads, "kv_heads": kv_heads, "head_dim": 8 * RNG.randint(2, 4)},
        **{"vocab_size": 128, "context": 512},
    }


def _saved(shape: Shape, how: Training, padded: int) -> int:
    """Bytes that a step keeps for its backward pass, weights aside."""
    config = transformers.LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
    )
    dtype = {2: torch.bfloat16, 4: torch.float32}[how.number]
    model: Any = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    spec = peft.LoraConfig(r=how.r, lora_dropout=0.1 * how.dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, spec).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    asked = how.tokens - how.answer
    batch = [Tokens(tuple(range(asked - padded * (n % 2))), tuple(range(how.answer))) for n in range(how.micro_batch)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer_losses(model, batch)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_activations_are_what_the_backward_pass_keeps(number: int, dropout: bool, micro_batch: int) -> None:
    shape = Shape.model_validate({"architecture": "LlamaForCausalLM", **_drawn()})
    how = Training("lora", 16, number, 4, dropout, micro_batch, False, "none", 96, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = _saved(shape, how, padded=5)
    (need,) = training_needs(shape, how, "ram")
    assert need.parts["activations"] + need.parts["logits"] == pytest.approx(
        saved, rel=0.04
    )  # the first layer is not asked where its inputs come from

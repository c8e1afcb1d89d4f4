from collections import Counter
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen2Config,
)

from poem_build.models.cross_entropy import IGNORED
from poem_build.models.likelihood import answer_losses
from poem_build.models.tokens import Tokens
from poem_build.train.batches import batches

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
CONFIGS = {
    "qwen2": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "llama": LlamaConfig(**SMALL),
    "gemma2 (soft-capped logits)": Gemma2Config(**SMALL, head_dim=8, sliding_window=16),
    "gemma3 (sliding window)": Gemma3TextConfig(**SMALL, head_dim=8, sliding_window=16),
    "gpt2 (learned positions)": GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2
    ),
}
BATCH = [
    Tokens(tuple(range(3, 60)), tuple(range(5, 30))),
    Tokens(tuple(range(9, 25)), tuple(range(40, 45))),
    Tokens(tuple(range(2, 40)), tuple(range(60, 90))),
]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_loss_and_gradients_are_those_of_the_plain_way(config: PretrainedConfig) -> None:
    """One example at a time, unpadded, all logits, transformers' own loss."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    losses, mask = answer_losses(model, BATCH)
    (losses.sum() / mask.sum()).backward()
    ours = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    total = torch.zeros(())
    for tokens in BATCH:
        ids = torch.tensor([tokens.prompt + tokens.answer])
        labels = ids.clone()
        labels[:, : len(tokens.prompt)] = IGNORED
        total = total + model(input_ids=ids, labels=labels).loss * len(tokens.answer)
    plain = total / sum(len(tokens.answer) for tokens in BATCH)
    plain.backward()
    assert (losses.sum() / mask.sum()).item() == pytest.approx(plain.item(), abs=1e-5)
    for mine, parameter in zip(ours, (p for p in model.parameters() if p.grad is not None), strict=True):
        assert torch.allclose(mine, parameter.grad, atol=1e-5)


def test_a_batch_needs_no_mask_whose_rows_could_be_empty() -> None:
    """An attention that looks at nothing has given NaN on a GPU."""
    model = AutoModelForCausalLM.from_config(CONFIGS["qwen2"])
    asked: list[dict[str, Any]] = []
    model.register_forward_pre_hook(lambda _, __, told: asked.append(told), with_kwargs=True)
    answer_losses(model, BATCH)
    (told,) = asked
    assert told.keys() == {"input_ids", "logits_to_keep", "use_cache"}
    assert [row[: len(tokens)].tolist() for row, tokens in zip(told["input_ids"], BATCH, strict=True)] == [
        [*tokens.prompt, *tokens.answer] for tokens in BATCH
    ]


def test_an_epoch_holds_every_example_once_in_seeded_order() -> None:
    examples = [Tokens(tuple(range(n % 40 + 1)), (1,)) for n in range(103)]
    epoch = list(batches(examples, 8, "1 0"))
    assert Counter(id(tokens) for batch in epoch for tokens in batch) == Counter(map(id, examples))
    assert {len(batch) for batch in epoch} <= {8, 103 % 8}
    assert epoch == list(batches(examples, 8, "1 0")) != list(batches(examples, 8, "1 1"))

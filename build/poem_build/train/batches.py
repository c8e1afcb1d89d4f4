"""Examples → padded batches in which only the answer's tokens count.

Prompts are padded on the left, so every answer ends at the last position and logits are needed for the last
few positions alone. On a large vocabulary the head over the prompt is half of all the work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from poem_build.data.dataset import Example
from poem_build.models.chat import render_chat, trained_prompt
from poem_build.train.cross_entropy import IGNORED, cross_entropy

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of an example: the prompt up to where the answer begins, and the answer with its end."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def tokenize(tokenizer: Any, family: str, example: Example) -> Tokens:
    """Prompt and answer are tokenized apart, as they are when the model is asked."""
    prompt = trained_prompt(family, example)
    whole = render_chat(family, example.messages(), answer_follows=False)
    answer = whole.removeprefix(prompt).rstrip("\n")
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=True)
    return Tokens(tuple(prompt_ids), tuple(tokenizer.encode(answer, add_special_tokens=False)))


def batches(examples: Sequence[Tokens], size: int, seed: str) -> Iterator[list[Tokens]]:
    """One epoch in seeded order, examples of like length together so that little is padding."""
    rng = Random(seed)
    order = rng.sample(range(len(examples)), len(examples))
    window = size * 16
    found = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda n: len(examples[n]))
        found += [near[n : n + size] for n in range(0, len(near), size)]
    rng.shuffle(found)
    for rows in found:
        yield [examples[n] for n in rows]


def answer_losses(model: Any, batch: Sequence[Tokens]) -> "tuple[torch.Tensor, torch.Tensor]":
    """Negative log-likelihood in nats of each answer token and the mask of real ones, both (batch, answer)."""
    import torch

    longest = max(len(tokens) for tokens in batch)
    # One more than the answer has: the logits of the last place foretell nothing, but cutting them off is a copy.
    keep = max(len(tokens.answer) for tokens in batch) + 1
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), keep), IGNORED)
    for n, tokens in enumerate(batch):
        ids[n, longest - len(tokens) :] = torch.tensor(tokens.prompt + tokens.answer)
        mask[n, longest - len(tokens) :] = 1
        labels[n, keep - 1 - len(tokens.answer) : -1] = torch.tensor(tokens.answer)
    device = next(model.parameters()).device
    ids, mask, labels = ids.to(device), mask.to(device), labels.to(device)
    # Without padding the model needs no mask, and attention then skips what lies in the future.
    padding = {"attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if not mask.all() else {}
    logits = model(input_ids=ids, logits_to_keep=keep, use_cache=False, **padding).logits
    return cross_entropy(logits, labels)[:, :-1], (labels != IGNORED)[:, :-1]

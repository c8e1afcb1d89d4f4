"""A model and examples → how unlikely it holds each token of their answers.

Prompts are padded on the left, so every answer ends at the last position and logits are needed for the last
few positions alone. On a large vocabulary the head over the prompt is half of all the work.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from poem_build.models.cross_entropy import IGNORED, cross_entropy
from poem_build.models.tokens import Tokens

if TYPE_CHECKING:
    import torch


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

"""A model and examples → how unlikely it holds each token of their answers.

Examples are padded on the right, where no token of theirs looks: attention is causal. So none needs a mask, PyTorch
skips what lies in the future, and no row of attention is empty, which gives NaN on a GPU. Logits are asked for from the
earliest answer on alone: on a large vocabulary the head over the prompt is half of all the work.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from poem_build.models.cross_entropy import IGNORED, cross_entropy
from poem_build.models.tokens import Tokens

if TYPE_CHECKING:
    import torch


def packed_losses(model: Any, batch: Sequence[Tokens]) -> "tuple[torch.Tensor, torch.Tensor]":
    """The same of the examples in one row without padding, each with positions of its own; both are (1, answers).

    transformers tells from the positions where an example begins, and lets none see another: by a mask for PyTorch's
    attention, by lengths for flash attention. `keeps_apart` says whether a model does.
    """
    import torch

    ids = [token for tokens in batch for token in tokens.prompt + tokens.answer]
    places = [place for tokens in batch for place in range(len(tokens))]
    ends = list(accumulate(len(tokens) for tokens in batch))
    # The logits of a place foretell the next one.
    asked = [n - 1 for end, tokens in zip(ends, batch, strict=True) for n in range(end - len(tokens.answer), end)]
    labels = [token for tokens in batch for token in tokens.answer]
    device = next(model.parameters()).device
    logits = model(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([places], device=device),
        logits_to_keep=torch.tensor(asked, device=device),
        use_cache=False,
    ).logits
    wanted = torch.tensor([labels], device=device)
    return cross_entropy(logits, wanted), torch.ones_like(wanted, dtype=torch.bool)


def keeps_apart(model: Any) -> bool:
    """Whether examples in one row have the losses that they have alone, by trying it on two short ones."""
    import torch

    rows = [Tokens((5, 6, 7), (8, 9, 10, 11)), Tokens((12, 5), (9, 8, 7))]
    was = model.training
    model.eval()
    try:
        with torch.inference_mode():
            together, _ = packed_losses(model, rows)
            alone = torch.cat([answer_losses(model, [row])[0].flatten() for row in rows])
    except (TypeError, ValueError):  # it takes no positions
        return False
    finally:
        model.train(was)
    within = rounding_in(str(model.dtype).removeprefix("torch."))
    return bool(torch.allclose(together.flatten(), alone, atol=within, rtol=within))


def rounding_in(dtype: str) -> float:
    """Nats by which two ways to reckon one loss may be apart; a neighbour that is seen changes it by more."""
    return 1e-4 if dtype == "float32" else 0.05


def answer_losses(model: Any, batch: Sequence[Tokens]) -> "tuple[torch.Tensor, torch.Tensor]":
    """Negative log-likelihood in nats of each answer token and the mask of real ones, both (batch, places)."""
    import torch

    longest = max(len(tokens) for tokens in batch)
    first = min(len(tokens.prompt) for tokens in batch) - 1  # its logits foretell the earliest answer's first token
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest - first), IGNORED)
    for n, tokens in enumerate(batch):
        ids[n, : len(tokens)] = torch.tensor(tokens.prompt + tokens.answer)
        start = len(tokens.prompt) - 1 - first
        labels[n, start : start + len(tokens.answer)] = torch.tensor(tokens.answer)
    device = next(model.parameters()).device
    ids, labels = ids.to(device), labels.to(device)
    # The logits of the last place foretell nothing, but cutting them off before would be a copy.
    logits = model(input_ids=ids, logits_to_keep=longest - first, use_cache=False).logits
    return cross_entropy(logits, labels)[:, :-1], (labels != IGNORED)[:, :-1]

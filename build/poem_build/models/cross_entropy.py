"""Logits → cross entropy whose gradient takes the logits' own place in memory.

220 answer tokens over a vocabulary of 262,144 are 230 MB of logits. PyTorch's cross entropy holds three more
buffers of that size (log-softmax, its gradient and the logits'); this one holds none.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label of a place that does not count."""

_AT_ONCE = {"cpu": 1 << 21}
"""Bytes of float32 that are turned at a time: as many as the processor's cache holds."""
_AT_ONCE_ON_GPU = 1 << 27
"""There each turn costs the start of some kernels, and two rows a turn were most of a small model's step."""


def cross_entropy(logits: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Negative log-likelihood in nats, float32, of each label (...) under its logits (..., vocabulary).

    Zero where the label is `IGNORED`. The backward pass overwrites the logits, so it can be taken once, and the
    logits must not be used afterwards; autograd raises `RuntimeError` where another operation still needs them.
    """
    return _function().apply(logits, labels)


def _rows(logits: "torch.Tensor") -> int:
    """How many rows of logits are turned at a time."""
    at_once = _AT_ONCE.get(logits.device.type, _AT_ONCE_ON_GPU)
    return max(1, at_once // (4 * int(logits.shape[-1])))


def _function() -> Any:
    import torch

    class InPlace(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            rows, wanted = logits.view(-1, logits.shape[-1]), labels.reshape(-1)
            scale = torch.cat([part.float().logsumexp(-1) for part in rows.split(_rows(logits))])
            chosen = rows.gather(1, wanted.clamp(min=0)[:, None]).squeeze(1).float()
            context.save_for_backward(logits, labels, scale)
            return (scale - chosen).masked_fill(wanted == IGNORED, 0.0).view(labels.shape)

        @staticmethod
        def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
            """softmax(logits) - one_hot(label), times the loss's own gradient."""
            logits, labels, scale = context.saved_tensors
            size = _rows(logits)
            parts = zip(
                logits.view(-1, logits.shape[-1]).split(size),
                labels.reshape(-1, 1).split(size),
                scale[:, None].split(size),
                gradient.reshape(-1, 1).split(size),
                strict=True,
            )
            for rows, wanted, total, outer in parts:
                found = rows.float().sub_(total).exp_()  # the logits themselves where they are float32, else a copy
                found.scatter_add_(1, wanted.clamp(min=0), torch.full_like(total, -1.0))
                found.mul_(outer).masked_fill_(wanted == IGNORED, 0.0)
                rows.copy_(found)
            return logits, None

    return InPlace

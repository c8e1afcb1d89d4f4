"""The losses of a training → a picture of how they went."""

from collections.abc import Sequence
from pathlib import Path

FILE = "loss.png"


_NOISE = 1.02
"""A validation loss above the best by less says nothing."""


def overfitting(train: Sequence[float], valid: Sequence[tuple[int, float]], kept: int) -> str:
    """Since when the model learns its examples by heart, in words; empty where it does not.

    That is: the validation loss has risen since its best while the training loss went on falling.
    """
    before, after = train[max(0, 2 * kept - len(train)) : kept], train[kept:]
    best, last = dict(valid)[kept], valid[-1][1]
    if not before or not after or last < best * _NOISE:
        return ""
    was, now = (sum(part) / len(part) for part in (before, after))
    if now >= was:
        return ""
    return (
        f"over-fitting since step {kept}: validation loss {best:.2f} → {last:.2f} while training went {was:.2f} → "
        f"{now:.2f}; the weights of step {kept} are kept"
    )


def draw(path: Path, title: str, train: Sequence[float], valid: Sequence[tuple[int, float]], kept: int) -> None:
    """Write a PNG of the losses, in nats an answer token, over steps.

    `train` has one loss a step, `valid` (steps done, loss) pairs; `kept` is the step whose adapter is kept.
    The same losses give the same bytes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    window = max(1, len(train) // 40)
    steps = range(1, len(train) + 1)
    axes.plot(steps, train, color="tab:blue", alpha=0.3, linewidth=0.8, label="training, each step")
    if window > 1:
        means = [sum(part) / len(part) for part in (train[max(0, n - window) : n] for n in steps)]
        axes.plot(steps, means, color="tab:blue", label=f"training, mean of {window} steps")
    axes.plot(*zip(*valid, strict=True), color="tab:orange", marker="o", markersize=4, label="validation")
    if overfitting(train, valid, kept):
        axes.axvspan(kept, len(train), color="tab:red", alpha=0.08, label="over-fitting")
    axes.axvline(kept, color="grey", linestyle=":", linewidth=1, label=f"kept: step {kept}")
    axes.set(title=title, xlabel="step", ylabel="loss (nats per answer token)")
    axes.set_xlim(0, len(train))
    axes.set_ylim(0, 1.05 * max(*train, *(loss for _, loss in valid)))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Software": None})

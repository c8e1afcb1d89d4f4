"""The losses of a training → a picture of how they went."""

from collections.abc import Sequence
from pathlib import Path

FILE = "loss.png"


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
    axes.axvline(kept, color="grey", linestyle=":", linewidth=1, label=f"adapter kept: step {kept}")
    axes.set(title=title, xlabel="step", ylabel="loss (nats per answer token)")
    axes.set_xlim(0, len(train))
    axes.set_ylim(0, 1.05 * max(*train, *(loss for _, loss in valid)))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Software": None})

"""Whether a gate may refuse: what only a whole training can reach is let pass for one that was cut short on purpose."""

from pathlib import Path

from poem_build.store import artifact


def cut_short(out: Path) -> bool:
    """Whether `train.max_steps` ended the training of this folder's adapter; its gates then report only."""
    steps = artifact.manifest(out, "adapter").figures["steps"]
    return bool(steps["planned"] < steps["whole"])

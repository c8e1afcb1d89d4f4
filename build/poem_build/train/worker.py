"""`python -m poem_build.train.worker work.json` → one process of a training; the first says how it went."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from poem_build.models.family import family
from poem_build.models.tokens import Tokens
from poem_build.store.folder import write_text
from poem_build.train import methods
from poem_build.train.launch import TRAINED, Work
from poem_build.train.protocol import Setup


def main(told: Path) -> None:
    """Train with the others."""
    from accelerate import PartialState

    work = Work.model_validate_json(told.read_text("utf-8"))
    kept = {"preferences": work.preferences, "checkpoint_s": work.checkpoint_s}
    device = work.device
    if device.torch == "cuda":
        import torch

        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    setup = Setup(work.base, family(work.family), work.spec.model_copy(update=kept), device, work.target, work.room)
    trained = methods.trainer(work.spec.method).train(setup, _tokens(work.train), _tokens(work.valid))
    if PartialState().is_main_process:
        write_text(work.room / TRAINED, trained.model_dump_json())


def _tokens(rows: Sequence[tuple[list[int], list[int]]]) -> list[Tokens]:
    return [Tokens(tuple(prompt), tuple(answer)) for prompt, answer in rows]


if __name__ == "__main__":
    main(Path(sys.argv[1]))

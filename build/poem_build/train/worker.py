"""`python -m poem_build.train.worker work.json` → one process of a training; the first says how it went."""

import os
import sys
from pathlib import Path
from threading import Thread

from poem_build.store.folder import write_text
from poem_build.train import methods
from poem_build.train.launch import TRAINED, Work


def main(told: Path) -> None:
    """Train with the others, as long as the process lives that the training was started by."""
    from accelerate import PartialState

    Thread(target=_end_with_parent, daemon=True).start()
    work = Work.model_validate_json(told.read_text("utf-8"))
    if work.device.torch == "cuda":
        import torch

        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    setup = work.setup
    trained = methods.trainer(setup.spec.method).train(setup, *work.examples)
    if PartialState().is_main_process:
        write_text(work.room / TRAINED, trained.model_dump_json())


def _end_with_parent() -> None:
    """The pipe on standard input is never written to: it ends with who holds its other end."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The state of an unfinished training ⇄ files; killed at any moment, a process leaves the last one or two whole.

A file is the SHA-256 of what follows, and what `torch.save` writes.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KEPT = 2


class Checkpoints:
    """The checkpoints in one folder, which is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state after `state["step"]` steps: whole or not at all, even if the power fails."""
        import torch

        content = io.BytesIO()
        torch.save(dict(state), content)
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / "unfinished"
        try:
            with beside.open("wb") as file:
                file.write(hashlib.sha256(content.getbuffer()).digest())
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.folder / f"step-{state['step']:08}")
        finally:
            beside.unlink(missing_ok=True)
        for old in self._files()[:-_KEPT]:
            old.unlink()

    def latest(self) -> dict[str, Any] | None:
        """The newest state whose digest holds, else the one before; None where there is none to go on from."""
        import torch

        for path in reversed(self._files()):
            content = path.read_bytes()
            size = hashlib.sha256().digest_size
            if content[:size] == hashlib.sha256(content[size:]).digest():
                state: dict[str, Any] = torch.load(io.BytesIO(content[size:]), weights_only=True)
                return state
        return None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))

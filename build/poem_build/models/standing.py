"""What a build found its model worth ⇄ `verdict.json` beside the GGUF, and the keys that a stamped GGUF has of it.

The weights are judged when they are finished, so it is no part of them: it lies beside them, goes where their folder
goes, and whoever serves reads it from there, or from the copy that `register` stamps.
"""

import contextlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from poem.model_keys import VERDICT_FILE, Verdict, standing_keys
from poem_build.store.folder import write_text


class Standing(BaseModel):
    """The verdict, and the gates that refuse it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    verdict: Verdict = ""
    """Of `eval`; empty where it has not looked at this model. A service with POEM_WRITER=auto asks no model that is
    below the composer."""
    forced: tuple[str, ...] = ()
    """`verify: gate.smoke_pass: …`, what was seen and asked for: those that it was let through all the same."""
    refused: tuple[str, ...] = ()
    """Those that it was not: it is not registered, and goes into no image."""

    def keys(self) -> dict[str, str]:
        """As a GGUF has it; nothing where there is nothing to say."""
        return standing_keys(self.verdict, self.forced)


def read_standing(folder: Path) -> Standing:
    """How the folder's model stands; nothing is known of one that has no such file, or a damaged one."""
    with contextlib.suppress(OSError, ValidationError):
        return Standing.model_validate_json((folder / VERDICT_FILE).read_bytes())
    return Standing()


def write_standing(folder: Path, standing: Standing) -> None:
    """Write it, or nothing where there is nothing to say."""
    if standing == Standing():
        (folder / VERDICT_FILE).unlink(missing_ok=True)
    else:
        write_text(folder / VERDICT_FILE, standing.model_dump_json() + "\n")

"""What a build tells of a model, for whoever serves it: keys of the GGUF, a note in the template, files beside it."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal

PREFIX = "mansion_poem."
PROMPT_VERSION = "mansion_poem.prompt_version"
GAME, GAME_DIGEST = "mansion_poem.game", "mansion_poem.game_digest"
STAGES = "mansion_poem.stages"
"""In which its poems are written, as a text."""
VERDICT, FORCED = "mansion_poem.verdict", "mansion_poem.forced"

ADAPTER_FILE = "adapter.gguf"
"""Beside a base that games share; whoever loads the GGUF next to it loads it too."""
VERDICT_FILE = "verdict.json"
"""`{"verdict", "forced": [gate, …], "refused": [gate, …]}`, beside the GGUF that was judged."""

Verdict = Literal["", "passed", "refused", "below-composer"]
"""Empty where nobody has looked at the model."""
BELOW_COMPOSER: Final = "below-composer"
"""The verdict on a model that writes worse than the composer."""

_NOTE = re.compile(r"\{\{/\* mansion_poem (\{.*?\}) \*/\}\}")


def standing_keys(verdict: str, forced: Iterable[str]) -> dict[str, str]:
    """A verdict, and the gates that the model was let through all the same, as a GGUF has them; nothing for nothing."""
    told = {VERDICT: verdict, FORCED: "; ".join(forced)}
    return {key: text for key, text in told.items() if text}


def write_note(template: str, keys: Mapping[str, str]) -> str:
    """The template, and before it the keys with their texts, for a base that games share and that can say nothing.

    A comment of Go's, which writes nothing; Ollama gives the template back as it was given.
    """
    if not keys:
        return template
    told = json.dumps(keys, separators=(",", ":")).replace("*/", "*\\/")  # which would end the comment
    return f"{{{{/* mansion_poem {told} */}}}}{template}"


def read_note(template: str) -> dict[str, Any]:
    """What the template's notes say; nothing of one that is damaged."""
    told: dict[str, Any] = {}
    for note in _NOTE.findall(template):
        with suppress(ValueError):
            told |= json.loads(note)
    return told

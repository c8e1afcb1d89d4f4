"""The one interface of everything that can write a poem: an `Ask` → the pieces of its JSON text."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from poem.hand import Hand
from poem.prompt import Prompt, render_prompt

PROMPT_VERSION_KEY = "mansion_poem.prompt_version"
"""Where a GGUF says which prompt its model was trained on."""
# A whole answer is under 2 KiB; what runs on beyond this is no answer.
ANSWER_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """What a model is asked: the prompt, the titles it may choose from, and the seed of its sampling."""

    prompt: Prompt
    candidates: tuple[str, ...]
    seed: int

    @classmethod
    def of(cls, hand: Hand, candidates: tuple[str, ...], seed: int) -> "Ask":
        return cls(render_prompt(hand, candidates), candidates, seed)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What an engine knows of its model; None where it cannot tell."""

    name: str
    digest: str | None = None
    prompt_version: str | None = None
    loaded: bool = True
    vram_share: float | None = None


class Piece(NamedTuple):
    """Some of the answer's JSON text, as it came in one read, and how many tokens of the model's it is."""

    text: str
    tokens: int = 1


class Engine(Protocol):
    """An engine. Every method raises `EngineError` and nothing else for what goes wrong upstream."""

    name: str

    async def inspect(self) -> ModelFacts:
        """What there is, cheaply; raises `UnavailableError` when the model cannot be asked at all."""
        ...

    async def load(self) -> None:
        """Return once the model is in memory, however long that takes."""
        ...

    def write(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The answer's JSON text in pieces, as fast as they come.

        Ends only if the answer is whole; closing the generator early cancels the work upstream.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and memory."""
        ...

"""The one interface of everything that can write a poem: an `Ask` → the pieces of its JSON text."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from poem.game import Game
from poem.hand import Hand
from poem.prompt import Prompt, render_prompt

# A whole answer is under 2 KiB; what runs on beyond this is no answer.
ANSWER_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """What a model is asked: the prompt, the titles it may choose from, and the seed of its sampling."""

    prompt: Prompt
    candidates: tuple[str, ...]
    seed: int

    @classmethod
    def of(cls, game: Game, hand: Hand, candidates: tuple[str, ...], seed: int) -> "Ask":
        return cls(render_prompt(game.instructions, hand, candidates), candidates, seed)


@dataclass(frozen=True, slots=True)
class Training:
    """What a GGUF says of how its model was trained; None where it says nothing."""

    prompt_version: str | None = None
    game: str | None = None
    game_digest: str | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Training":
        """From the GGUF's own keys, `mansion_poem.prompt_version` and so on."""
        values = (metadata.get(f"mansion_poem.{field}") for field in ("prompt_version", "game", "game_digest"))
        return cls(*(value if isinstance(value, str) else None for value in values))


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What an engine knows of its model; None where it cannot tell."""

    name: str
    digest: str | None = None
    training: Training = Training()
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

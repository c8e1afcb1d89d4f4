"""The one interface of everything that can write a poem: an `Ask` → the pieces of its JSON text."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from poem.game import Game
from poem.hand import Hand
from poem.model_keys import FORCED, GAME, GAME_DIGEST, PROMPT_VERSION, STAGES, VERDICT
from poem.outline import Outline, Stages, outline_grammar, outline_schema
from poem.prompt import Prompt, render_outline_prompt, render_outlined_prompt, render_prompt
from poem.shape import answer_grammar, answer_schema
from poem_service.errors import AnswerError, Reason

ANSWER_TOKENS_MAX = 4096
"""Of a server's answer, with the thoughts of a model that thinks; an answer alone is under 512."""
# A whole answer is under 2 KiB; what runs on beyond this is no answer.
ANSWER_BYTES_MAX = 16 * 1024
THOUGHT_BYTES_MAX = 4 * ANSWER_BYTES_MAX
"""For an answer with its thoughts before it."""


Message = dict[str, Any]
"""`role` and `content`, a text, and whatever else a client's server knows of."""
Form = Literal["json"] | dict[str, Any] | None
"""Of an answer: any text, any JSON object, or what this JSON schema allows."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a model is asked: the prompt, the titles it may choose from, the seed of its sampling."""

    prompt: Prompt
    candidates: tuple[str, ...]
    seed: int
    stream: bool = True
    """Whether somebody watches the answer grow; if not, it may come in one piece, which costs far less."""
    outline: bool = False
    """Whether an outline is asked for, which a poem is then asked for by."""

    @classmethod
    def of(cls, game: Game, hand: Hand, candidates: tuple[str, ...], seed: int, *, stream: bool = True) -> "Ask":
        """For a hand's poem."""
        return cls(render_prompt(game.instructions, hand, candidates), candidates, seed, stream)

    @classmethod
    def for_outline(cls, game: Game, hand: Hand, candidates: tuple[str, ...], seed: int) -> "Ask":
        """For a hand's outline, which nobody watches."""
        return cls(
            render_outline_prompt(game.instructions, hand, candidates), candidates, seed, stream=False, outline=True
        )

    @classmethod
    def by_outline(cls, game: Game, outline: Outline, seed: int, *, stream: bool = True) -> "Ask":
        """For an outline's poem."""
        return cls(render_outlined_prompt(game.instructions, outline), (outline.title,), seed, stream)

    @property
    def schema(self) -> dict[str, object]:
        """The answer's shape as JSON schema."""
        return outline_schema(self.candidates) if self.outline else answer_schema(self.candidates)

    @property
    def grammar(self) -> str:
        """The same as GBNF."""
        return outline_grammar(self.candidates) if self.outline else answer_grammar(self.candidates)


@dataclass(frozen=True, slots=True)
class Chat:
    """What a model is asked in a client's own words; the answer streams, and may have any form."""

    messages: tuple[Message, ...]
    seed: int
    form: Form = None
    tokens_max: int | None = None
    temperature: float | None = None
    top_p: float | None = None


TRAINING_KEYS = (PROMPT_VERSION, GAME, GAME_DIGEST, VERDICT, FORCED, STAGES)
"""In the order of what a `Training` holds."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a GGUF says of how its model was trained; None where it says nothing."""

    prompt_version: str | None = None
    game: str | None = None
    game_digest: str | None = None
    verdict: str | None = None
    """What its build found it worth."""
    forced: str | None = None
    """The gates of its build that refuse it, if it was let through all the same."""
    stages_told: str | None = None

    @property
    def stages(self) -> Stages:
        """In which its poems are written."""
        return 2 if self.stages_told == "2" else 1

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Training":
        """From the GGUF's own keys, `mansion_poem.prompt_version` and so on."""
        values = (metadata.get(key) for key in TRAINING_KEYS)
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
    thought: str = ""
    """What the model said to itself; it counts as tokens and is no part of the answer."""
    writing_s: float | None = None
    """For a whole answer: what the server says that writing it took, without waiting and reading the prompt."""


ALIVE = Piece("", 0)
"""The server has taken the ask up; nothing is written yet."""


class Engine(Protocol):
    """An engine. Every method raises `EngineError` and nothing else for what goes wrong upstream."""

    name: str

    async def inspect(self) -> ModelFacts:
        """What there is, cheaply; raises `UnavailableError` when the model cannot be asked at all."""
        ...

    async def load(self) -> None:
        """Return once the model is in memory, however long that takes."""
        ...

    async def unload(self) -> None:
        """Have the model dropped from memory, with whatever hangs in it; nothing where a client has no say in that."""
        ...

    def write(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The answer's JSON text in pieces, as fast as they come, or in one.

        Ends only if the answer is whole; closing the generator early cancels the work upstream.
        """
        ...

    def chat(self, chat: Chat) -> AsyncGenerator[Piece, None]:
        """The same for a client's own messages: the answer's text, whatever it is.

        Raises `CutError` at the limit of its tokens, `RefusedError` where no such messages or form are taken.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and memory."""
        ...


class Bound:
    """Counts an answer's characters. Raises `AnswerError` for one that runs on and on."""

    def __init__(self) -> None:
        self._start = ""
        self._total = 0

    def add(self, text: str) -> None:
        if len(self._start) < 16:
            self._start = (self._start + text).lstrip()[:16]
        self._total += len(text)
        limit = THOUGHT_BYTES_MAX if self._start.startswith("<think>") else ANSWER_BYTES_MAX
        if self._total > limit:
            raise AnswerError(Reason.MALFORMED, f"over {limit} characters")

"""The one way to ask a model, whatever runs it: a question in, a reply with its end and its figures out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Question:
    """A conversation to go on with. The answer has the shape of a poem under one of the titles, if any are given."""

    messages: list[dict[str, str]]
    seed: int
    titles: tuple[str, ...] = ()
    sampling: Mapping[str, float] = field(default_factory=dict)
    """What is to be otherwise than the recipe has it, by the names of `[serve]`."""


@dataclass(frozen=True)
class Reply:
    """An answer, how it ended, and what it took in tokens and seconds."""

    text: str
    ended: str
    """`stop`, `length`, or `dropped` where the engine gave up."""
    seconds: float = 0.0
    prompt_tokens: int = 0
    prompt_s: float = 0.0
    tokens: int = 0
    tokens_s: float = 0.0

    @property
    def whole(self) -> str | None:
        """The text, if it ended by itself."""
        return self.text if self.ended == "stop" else None


class Engine(Protocol):
    """Whatever answers."""

    @property
    def name(self) -> str:
        """For people."""

    def ask(self, question: Question) -> Reply:
        """The reply, when it has ended."""


class Streaming(Engine, Protocol):
    """An engine that can be watched while it answers."""

    def stream(self, question: Question) -> Iterator[str]:
        """The answer piece by piece. Raises `UnfinishedError` after the last piece if the answer was cut."""

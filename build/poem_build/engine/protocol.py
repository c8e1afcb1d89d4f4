"""The one way to ask a model, whatever runs it: a question in, a reply with its end and its figures out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from poem.outline import outline_grammar, outline_schema
from poem.shape import answer_grammar, answer_schema


@dataclass(frozen=True)
class Question:
    """A conversation to go on with. The answer has the shape of a poem under one of the titles, if any are given."""

    messages: list[dict[str, str]]
    seed: int
    titles: tuple[str, ...] = ()
    sampling: Mapping[str, float] = field(default_factory=dict)
    """What is to be otherwise than the recipe has it, by the names of `[serve]`."""
    outline: bool = False
    """Whether the shape is that of an outline instead."""

    @property
    def schema(self) -> dict[str, object] | None:
        """The answer's shape as JSON schema; None where it may have any."""
        if not self.titles:
            return None
        return outline_schema(self.titles) if self.outline else answer_schema(self.titles)

    @property
    def grammar(self) -> str | None:
        """The same as GBNF."""
        if not self.titles:
            return None
        return outline_grammar(self.titles) if self.outline else answer_grammar(self.titles)


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

    def after(self, first: "Reply") -> "Reply":
        """This one with what the one before it took, which led to it."""
        sums = {name: getattr(self, name) + getattr(first, name) for name in _SUMMED}
        return replace(self, **sums)


_SUMMED = ("seconds", "prompt_tokens", "prompt_s", "tokens", "tokens_s")


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

"""A hand and its title candidates → the prompt, for data set, training, evaluation and service alike."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from poem.hand import Hand, Pair


@dataclass(frozen=True, slots=True)
class Prompt:
    """The fixed instructions and the hand's own part."""

    system: str
    user: str

    def messages(self) -> list[dict[str, str]]:
        """The prompt in the ChatML message shape."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


def render_prompt(hand: Hand, candidates: Sequence[str]) -> Prompt:
    """The prompt of a hand; the same bytes for the same hand and candidates, whoever asks."""
    pairs = _numbered(map(pair_line, hand.pairs))
    user = _template("user.txt").format(pairs=pairs, titles=_numbered(candidates))
    return Prompt(system_text(), user)


def pair_line(pair: Pair) -> str:
    """A pair as the prompt shows it."""
    return f"{pair.card.category}: {pair.card.condition_text} → {pair.wording.poem_text}"


def system_text() -> str:
    """The fixed instructions."""
    return _template("system.txt")


@cache
def prompt_version() -> str:
    """12 hex digits: the start of the SHA-256 of both templates.

    A model trained under another version was trained on another prompt than it is asked with.
    """
    return hashlib.sha256(f"{_template('system.txt')}\0{_template('user.txt')}".encode()).hexdigest()[:12]


@cache
def _template(name: str) -> str:
    return (resources.files("poem") / "data" / name).read_text("utf-8").rstrip("\n")


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{n}. {line}" for n, line in enumerate(lines, 1))

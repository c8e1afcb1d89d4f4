"""A hand and its title candidates → the prompt, for data set, training, evaluation and service alike.

Where a poem is written in two stages, the hand's prompt asks for an outline, and the outline's for the poem.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from poem.deck import Card, Wording
from poem.hand import PAIRS, Hand, Pair
from poem.outline import Outline, Stages

# What the version is reckoned from: a hand of no deck, so that only the prompt's own text counts.
_SAMPLE_CARDS = [Card(f"card-{n}", "区分", "現実", 0, (Wording(f"wording-{n}", "言い換え"),)) for n in range(PAIRS)]
SAMPLE_HAND = Hand(tuple(Pair(card, card.poems[0]) for card in _SAMPLE_CARDS))
SAMPLE_TITLES = ("題", "別の題")
SAMPLE_OUTLINE = Outline("題", ("言葉", "別の言葉"))


@dataclass(frozen=True, slots=True)
class Prompt:
    """The fixed instructions and the hand's own part."""

    system: str
    user: str

    @property
    def text(self) -> str:
        """Both parts, one under the other."""
        return f"{self.system}\n\n{self.user}"

    def messages(self) -> list[dict[str, str]]:
        """The prompt in the ChatML message shape."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]

    def then(self, other: "Prompt") -> "Prompt":
        """Both as one text, for whoever looks at what was asked."""
        return Prompt(self.system, f"{self.user}\n\n{other.user}")


def render_prompt(instructions: str, hand: Hand, candidates: Sequence[str]) -> Prompt:
    """The prompt of a hand; the same bytes for the same game, hand and candidates, whoever asks."""
    pairs = _numbered(map(pair_line, hand.pairs))
    return Prompt(instructions, _template("user.txt").format(pairs=pairs, titles=_numbered(candidates)))


def render_outline_prompt(instructions: str, hand: Hand, candidates: Sequence[str]) -> Prompt:
    """The prompt that asks for a hand's outline."""
    pairs = _numbered(map(pair_line, hand.pairs))
    user = _template("outline-user.txt").format(pairs=pairs, titles=_numbered(candidates))
    return Prompt(_in_two_stages(instructions), user)


def render_outlined_prompt(instructions: str, outline: Outline) -> Prompt:
    """The prompt that asks for an outline's poem. Its instructions are the outline's, so that they are read once."""
    user = _template("outlined-user.txt").format(title=outline.title, words="、".join(outline.words))
    return Prompt(_in_two_stages(instructions), user)


def pair_line(pair: Pair) -> str:
    """A pair as the prompt shows it."""
    return f"{pair.card.category}: {pair.card.condition_text} → {pair.wording.poem_text}"


def default_instructions() -> str:
    """The fixed instructions of a game that brings none of its own."""
    return _template("system.txt")


@cache
def prompt_version(instructions: str, stages: Stages = 1) -> str:
    """12 hex digits: the start of the SHA-256 of the prompt of a sample hand, so of all of its text.

    A model trained under another version was trained on another prompt than it is asked with.
    """
    if stages == 1:
        prompt = render_prompt(instructions, SAMPLE_HAND, SAMPLE_TITLES)
    else:
        first = render_outline_prompt(instructions, SAMPLE_HAND, SAMPLE_TITLES)
        prompt = first.then(render_outlined_prompt(instructions, SAMPLE_OUTLINE))
    return hashlib.sha256(f"{prompt.system}\0{prompt.user}".encode()).hexdigest()[:12]


def _in_two_stages(instructions: str) -> str:
    """A game's own instructions, which hold for both stages; the usual ones, which ask for a poem at once, reworded."""
    return _template("outline-system.txt") if instructions == default_instructions() else instructions


@cache
def _template(name: str) -> str:
    return (resources.files("poem") / "prompts" / name).read_text("utf-8").rstrip("\n")


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{n}. {line}" for n, line in enumerate(lines, 1))

"""A hand with the answer to learn ⇄ a chat, or two where the poem is written in two stages.

Read from a file, each is checked against the game and its rules.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from poem.deck import CANDIDATES
from poem.errors import HandError
from poem.game import Game
from poem.hand import PAIRS, Answer, Hand, Pair
from poem.outline import Outline, Stages, decode_outline, encode_outline, outline_of
from poem.prompt import Prompt, pair_line, render_outline_prompt, render_outlined_prompt, render_prompt
from poem.rules import check
from poem.shape import decode, encode
from poem_build.data.chats import Messages, read_chats, write_chats
from poem_build.errors import DatasetError

_ANSWER = "\n【答え】"
"""What an outline's prompt ends its lists with."""


@dataclass(frozen=True, slots=True)
class Example:
    """A hand with its title candidates and the answer to learn."""

    hand: Hand
    candidates: tuple[str, ...]
    answer: Answer
    stages: Stages = 1
    """In which the hand's poem is asked for: at once, or an outline first."""
    outline: Outline | None = None
    """Of two stages, once the first has given it: what the poem is asked for by."""

    def chats(self, game: Game) -> list[Messages]:
        """The example in the ChatML message shape; the assistant's content is compact JSON.

        In two stages the first chat ends with the outline that the answer would have had, the second with the answer.
        """
        poem = encode(self.answer)
        if self.stages == 1:
            return [_chat(self.prompt(game), poem)]
        outline = outline_of(self.answer)
        second = replace(self, outline=outline)
        return [_chat(self.prompt(game), encode_outline(outline)), _chat(second.prompt(game), poem)]

    def prompt(self, game: Game) -> Prompt:
        """What is asked of the hand: its poem, or first its outline and then by that its poem."""
        if self.stages == 1:
            return render_prompt(game.instructions, self.hand, self.candidates)
        if self.outline:
            return render_outlined_prompt(game.instructions, self.outline)
        return render_outline_prompt(game.instructions, self.hand, self.candidates)

    def question(self, game: Game) -> Messages:
        """The same as messages."""
        return self.prompt(game).messages()


def write_examples(path: Path, game: Game, examples: Iterable[Example]) -> None:
    """One JSON object a line: `{"messages": [system, user, assistant]}`."""
    write_chats(path, (chat for example in examples for chat in example.chats(game)))


def read_examples(path: Path, game: Game) -> list[Example]:
    """The examples of a JSONL file, each checked against form, prompt and rules.

    Raises `DatasetError` naming the file, the line, the field and the remedy.
    """
    pairs = pairs_of(game)
    chats = [(f"{path}: line {n}", chat) for n, chat in enumerate(read_chats(path), 1)]
    return [example_of(together, game, pairs) for together in grouped(chats)]


Placed = tuple[str, Messages]
"""A chat and where it stands."""


def pairs_of(game: Game) -> dict[str, Pair]:
    """The deck's pairs by their lines in a prompt."""
    return {pair_line(Pair(card, wording)): Pair(card, wording) for card in game.deck.cards for wording in card.poems}


def grouped(chats: Sequence[Placed]) -> Iterator[list[Placed]]:
    """The chats that are one example: an outline's with its poem's behind it, any other alone."""
    at = 0
    while at < len(chats):
        size = 2 if _outlines(chats[at][1]) else 1
        yield list(chats[at : at + size])
        at += size


def example_of(chats: Sequence[Placed], game: Game, pairs: Mapping[str, Pair]) -> Example:
    """The example that chats are, checked; `pairs` are the deck's by their lines. Raises `DatasetError`."""
    (where, first), (last_where, last) = chats[0], chats[-1]
    stages: Stages = 2 if _outlines(first) else 1
    if len(chats) != stages:
        raise DatasetError(f"{where}: messages: an outline without its poem on the next line; drop it")
    hand, candidates = _hand(first, pairs, where)
    answered = f"{last_where}: messages.{len(last) - 1}.content"
    try:
        answer = decode(last[-1]["content"])
    except ValueError as error:
        raise DatasetError(f"{answered}: {error}; it must be the answer's JSON") from error
    if broken := check(answer, hand, candidates):
        raise DatasetError(f"{answered}: {broken[0]}; correct the answer or drop the line")
    example = Example(hand, candidates, answer, stages)
    asked = [example.prompt(game)]
    if stages == 2:
        asked.append(replace(example, outline=_outline(first, answer, where)).prompt(game))
    for (place, chat), prompt in zip(chats, asked, strict=True):
        if chat[:-1] != prompt.messages()[-len(chat[:-1]) :]:
            version = game.prompt_in(stages)
            raise DatasetError(f"{place}: messages: not the prompt of version {version}; make the data set again")
    return example


def _chat(prompt: Prompt, answer: str) -> Messages:
    return [*prompt.messages(), {"role": "assistant", "content": answer}]


def _outlines(chat: Messages) -> bool:
    """Whether the chat ends with an outline."""
    try:
        decode_outline(chat[-1]["content"])
    except ValueError:
        return False
    return True


def _outline(chat: Messages, answer: Answer, where: str) -> Outline:
    outline = decode_outline(chat[-1]["content"])
    if outline.title != answer.title:
        raise DatasetError(
            f"{where}: messages.{len(chat) - 1}.content: {outline.title!r} is not its poem's title; drop both lines"
        )
    return outline


def _hand(chat: Messages, known: Mapping[str, Pair], where: str) -> tuple[Hand, tuple[str, ...]]:
    asked = f"{where}: messages.{len(chat) - 2}.content"
    entries = [text.split(". ", 1)[-1] for text in chat[-2]["content"].partition(_ANSWER)[0].split("\n")]
    pairs = entries[1 : PAIRS + 1]
    unknown = [text for text in pairs if text not in known]
    if unknown or len(entries) != PAIRS + CANDIDATES + 2:
        told = f"{unknown[0]!r} is no pair of the deck" if unknown else f"{len(entries)} lines"
        raise DatasetError(f"{asked}: {told}; make the data set again with this deck")
    try:
        return Hand(tuple(known[text] for text in pairs)), tuple(entries[PAIRS + 2 :])
    except HandError as error:
        raise DatasetError(f"{asked}: {error}; drop the line") from error

"""A hand with the answer to learn ⇄ a chat; read from a file, each is checked against the game and its rules."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from poem.deck import CANDIDATES
from poem.errors import HandError
from poem.game import Game
from poem.hand import PAIRS, Answer, Hand, Pair
from poem.prompt import pair_line, render_prompt
from poem.rules import check
from poem.shape import decode, encode
from poem_build.data.chats import Messages, read_chats, write_chats
from poem_build.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Example:
    """A hand with its title candidates and the answer to learn."""

    hand: Hand
    candidates: tuple[str, ...]
    answer: Answer

    def messages(self, game: Game) -> Messages:
        """The example in the ChatML message shape; the assistant's content is the answer as compact JSON."""
        return [*self.question(game), {"role": "assistant", "content": encode(self.answer)}]

    def question(self, game: Game) -> Messages:
        """What is asked, without the answer."""
        return render_prompt(game.instructions, self.hand, self.candidates).messages()


def write_examples(path: Path, game: Game, examples: Iterable[Example]) -> None:
    """One JSON object a line: `{"messages": [system, user, assistant]}`."""
    write_chats(path, (example.messages(game) for example in examples))


def read_examples(path: Path, game: Game) -> list[Example]:
    """The examples of a JSONL file, each checked against form, prompt and rules.

    Raises `DatasetError` naming the file, the line, the field and the remedy.
    """
    pairs = {pair_line(Pair(card, wording)): Pair(card, wording) for card in game.deck.cards for wording in card.poems}
    return [example_of(chat, game, pairs, f"{path}: line {n}") for n, chat in enumerate(read_chats(path), 1)]


def example_of(messages: Messages, game: Game, pairs: Mapping[str, Pair], where: str) -> Example:
    """The example that a chat is, checked; `pairs` are the deck's by their lines. Raises `DatasetError`."""
    system, user, assistant = (message["content"] for message in messages)
    hand, candidates = _hand(user, pairs, where)
    prompt = render_prompt(game.instructions, hand, candidates)
    if (system, user) != (prompt.system, prompt.user):
        raise DatasetError(
            f"{where}: messages: not the prompt of version {game.prompt_version}; make the data set again"
        )
    try:
        answer = decode(assistant)
    except ValueError as error:
        raise DatasetError(f"{where}: messages.2.content: {error}; it must be the answer's JSON") from error
    if broken := check(answer, hand, candidates):
        raise DatasetError(f"{where}: messages.2.content: {broken[0]}; correct the answer or drop the line")
    return Example(hand, candidates, answer)


def _hand(user: str, known: Mapping[str, Pair], where: str) -> tuple[Hand, tuple[str, ...]]:
    entries = [text.split(". ", 1)[-1] for text in user.split("\n")]
    pairs = entries[1 : PAIRS + 1]
    unknown = [text for text in pairs if text not in known]
    if unknown or len(entries) != PAIRS + CANDIDATES + 2:
        told = f"{unknown[0]!r} is no pair of the deck" if unknown else f"{len(entries)} lines"
        raise DatasetError(f"{where}: messages.1.content: {told}; make the data set again with this deck")
    try:
        return Hand(tuple(known[text] for text in pairs)), tuple(entries[PAIRS + 2 :])
    except HandError as error:
        raise DatasetError(f"{where}: messages.1.content: {error}; drop the line") from error

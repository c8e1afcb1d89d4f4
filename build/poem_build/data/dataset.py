"""The deck → chat examples in three splits that share no hand, and back: a checked JSONL file → examples.

Which split a hand belongs to follows from its pattern key alone. So whatever else is made from hands, the
plain text that a base is pretrained on, say, can leave the held-out ones out.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

from poem.composer import compose
from poem.deck import CANDIDATES, Deck, builtin_deck
from poem.errors import HandError
from poem.hand import PAIRS, Answer, Hand, Pair, deal, draw_candidates
from poem.handwritten import handwritten
from poem.pattern import pattern_key
from poem.prompt import pair_line, prompt_version, render_prompt
from poem.rules import check
from poem.shape import decode, encode
from poem_build.errors import DatasetError
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
# In 1,000 parts of all hands; what is left is for training.
_HELD_OUT: dict[Split, int] = {"test": 50, "valid": 25}


@dataclass(frozen=True, slots=True)
class Example:
    """A hand with its title candidates and the answer to learn."""

    hand: Hand
    candidates: tuple[str, ...]
    answer: Answer

    def messages(self) -> list[dict[str, str]]:
        """The example in the ChatML message shape; the assistant's content is the answer as compact JSON."""
        prompt = render_prompt(self.hand, self.candidates)
        return [*prompt.messages(), {"role": "assistant", "content": encode(self.answer)}]


def run(recipe: Recipe, out: Path) -> Artifact:
    """Compose the three splits, mix poems written by hand into the first, and write all with `dataset.json`."""
    deck = builtin_deck()
    sizes: dict[Split, int] = {s: getattr(recipe.dataset, s) for s in SPLITS}

    def work(folder: Path) -> Mapping[str, Any]:
        by_hand = _by_hand(deck, recipe.dataset.handwritten, recipe.dataset.seed)
        figures: dict[str, Any] = {"prompt_version": prompt_version(), "teacher": "composer", "cost_usd": 0}
        figures["handwritten"] = len(by_hand)
        for split, size in sizes.items():
            examples = [*_examples(deck, split, size, recipe.dataset.seed), *(by_hand if split == "train" else [])]
            write_examples(folder / f"{split}.jsonl", examples)
            figures[split] = _coverage(examples)
        content = figures | {"files": {s: artifact.sha256(folder / f"{s}.jsonl") for s in SPLITS}}
        (folder / "dataset.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
        return figures

    settings = recipe.dataset.model_dump() | {"prompt_version": prompt_version()}
    return artifact.make(out, "dataset", work, settings=settings, inputs={"game": artifact.game_digest()})


def split_of(hand: Hand) -> Split:
    """The split that the hand belongs to, whatever it is used for."""
    place = int(pattern_key(hand)[:8], 16) % 1000
    for split, parts in _HELD_OUT.items():
        if place < parts:
            return split
        place -= parts
    return "train"


def hands(deck: Deck, split: Split, rng: Random) -> Iterator[Hand]:
    """Endless dealt hands of one split, none twice."""
    seen: set[str] = set()
    while True:
        hand = deal(deck, rng)
        key = pattern_key(hand)
        if key not in seen and split_of(hand) == split:
            seen.add(key)
            yield hand


def write_examples(path: Path, examples: list[Example]) -> None:
    """One JSON object a line: `{"messages": [system, user, assistant]}`."""
    lines = (json.dumps({"messages": example.messages()}, ensure_ascii=False) + "\n" for example in examples)
    path.write_text("".join(lines), "utf-8")


def read_examples(path: Path) -> list[Example]:
    """The examples of a JSONL file, each checked against form, prompt and rules.

    Raises `DatasetError` naming the file, the line, the field and the remedy.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}; `poem-build dataset` makes it") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    return [_example(line, f"{path}: line {n}") for n, line in enumerate(text.rstrip("\n").split("\n"), 1)]


def _examples(deck: Deck, split: Split, size: int, seed: int) -> Iterator[Example]:
    rng = Random(f"dataset {split} {seed}")
    for _, hand in zip(range(size), hands(deck, split, rng), strict=False):
        candidates = draw_candidates(deck, rng)
        yield Example(hand, candidates, compose(hand, candidates, rng.getrandbits(32)).answer)


def _by_hand(deck: Deck, times: int, seed: int) -> list[Example]:
    """Every poem written by hand for a training hand, so often, its title among other candidates each time."""
    rng = Random(f"handwritten {seed}")
    poems = [poem for poem in handwritten() if not poem.held_out and split_of(poem.hand) == "train"]
    return [
        Example(poem.hand, candidates_with(poem.answer.title, deck, rng), poem.answer)
        for _ in range(times)
        for poem in poems
    ]


def candidates_with(title: str, deck: Deck, rng: Random) -> tuple[str, ...]:
    """As many title candidates as a player gets, that one somewhere among them."""
    others = [one for one in draw_candidates(deck, rng) if one != title][: CANDIDATES - 1]
    return tuple(rng.sample([title, *others], CANDIDATES))


def _coverage(examples: list[Example]) -> dict[str, int]:
    wordings = Counter(pair.wording.id for example in examples for pair in example.hand.pairs)
    return {
        "examples": len(examples),
        "cards": len({pair.card.id for example in examples for pair in example.hand.pairs}),
        "wordings": len(wordings),
        "wording_seen_least": min(wordings[w.id] for card in builtin_deck().cards for w in card.poems),
        "titles": len({example.answer.title for example in examples}),
        "violations": sum(bool(check(e.answer, e.hand, e.candidates)) for e in examples),
    }


def _example(line: str, where: str) -> Example:
    try:
        messages = json.loads(line)["messages"]
        roles = [message["role"] for message in messages]
        system, user, assistant = (str(message["content"]) for message in messages)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{where}: column {error.colno}: not JSON: {error.msg}; write one object a line") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: messages: must be three objects of role and content") from error
    if roles != ["system", "user", "assistant"]:
        raise DatasetError(f"{where}: messages: roles must be system, user, assistant, got {roles}")
    hand, candidates = _hand(user, where)
    prompt = render_prompt(hand, candidates)
    if (system, user) != (prompt.system, prompt.user):
        raise DatasetError(f"{where}: messages: not the prompt of version {prompt_version()}; make the data set again")
    try:
        answer = decode(assistant)
    except ValueError as error:
        raise DatasetError(f"{where}: messages.2.content: {error}; it must be the answer's JSON") from error
    if broken := check(answer, hand, candidates):
        raise DatasetError(f"{where}: messages.2.content: {broken[0]}; correct the answer or drop the line")
    return Example(hand, candidates, answer)


def _hand(user: str, where: str) -> tuple[Hand, tuple[str, ...]]:
    entries = [text.split(". ", 1)[-1] for text in user.split("\n")]
    pairs = entries[1 : PAIRS + 1]
    unknown = [text for text in pairs if text not in _pairs_by_line()]
    if unknown or len(entries) != PAIRS + CANDIDATES + 2:
        told = f"{unknown[0]!r} is no pair of the deck" if unknown else f"{len(entries)} lines"
        raise DatasetError(f"{where}: messages.1.content: {told}; make the data set again with this deck")
    try:
        return Hand(tuple(_pairs_by_line()[text] for text in pairs)), tuple(entries[PAIRS + 2 :])
    except HandError as error:
        raise DatasetError(f"{where}: messages.1.content: {error}; drop the line") from error


@cache
def _pairs_by_line() -> dict[str, Pair]:
    pairs = (Pair(card, wording) for card in builtin_deck().cards for wording in card.poems)
    return {pair_line(pair): pair for pair in pairs}

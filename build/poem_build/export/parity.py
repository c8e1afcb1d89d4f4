"""A model folder and its GGUF → the texts that they tokenize differently."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict

from poem.game import Game
from poem.prompt import SAMPLE_HAND, SAMPLE_TITLES, render_prompt
from poem_build.engine.llama import Llama
from poem_build.models.family import Family
from poem_build.models.load import load_tokenizer

_ODD = (
    "ー々〇〆ヶ・「」『』…―、。"
    "ABCxyz0123456789!?#%&()[]{}<>\"'\\/.,:;+-*=_~^|`@$ \t\n\n\n　"
    "ＡＢＣ０１２３！？～ｶﾞﾊﾟ①㈱㍿髙﨑𠮷"
    "🏢🌸👨‍👩‍👧🇯🇵😀"
    "\u304c\u304b\u3099\u200b\u00a0éñß"
)
_DECOMPOSED = "\u304b\u3099"


class Parity(BaseModel):
    """How many texts were compared, and those that differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    texts: int
    different: list[str]


def random_texts(count: int, game: Game, special: Sequence[str], seed: int = 0) -> list[str]:
    """The game's texts with the special tokens, full-width forms, emoji, blanks and line breaks, seeded."""
    rng = Random(f"parity {seed}")
    phrases = [card.condition_text for card in game.deck.cards] + list(game.deck.catchphrases)
    phrases += [wording.poem_text for card in game.deck.cards for wording in card.poems]
    phrases += [sentence.text for sentence in game.sentences.all()]
    kana = [chr(code) for code in range(0x3041, 0x30FB)]
    kanji = [chr(code) for code in range(0x4E00, 0x9FA0)]

    def piece() -> str:
        kind = rng.randrange(6)
        if kind == 0:
            return rng.choice(special)
        if kind == 1:
            return rng.choice(phrases)
        source = {2: kana, 3: kanji}.get(kind, list(_ODD))
        return "".join(rng.choices(source, k=rng.randint(1, 8)))

    return ["".join(piece() for _ in range(rng.randint(1, 8))) for _ in range(count)]


def differing_texts(folder: Path, gguf_path: Path, family: Family, game: Game, count: int) -> list[str]:
    """Those of `count` random texts, and of the prompt, whose token ids differ between transformers and llama.cpp.

    A text also differs if llama.cpp does not write it again from the ids, special tokens aside.

    Texts are compared without the token that opens one (BOS), the prompt with it, as it is trained on and asked
    with: it must not be there twice. llama.cpp's BPE does not normalize; a tokenizer that does so by a rule of
    Unicode is compared on normalized texts.
    """
    tokenizer, llama = load_tokenizer(folder), Llama(gguf_path, vocab_only=True)
    normalize = _normalizer(tokenizer)
    special = special_tokens(tokenizer, family)
    silent = re.compile("|".join(map(re.escape, special)))
    different = []
    for text in map(normalize, random_texts(count, game, special)):
        ids = llama.tokenize(text, bos=False)
        if tokenizer.encode(text, add_special_tokens=False) != ids or llama.text(ids) != silent.sub("", text):
            different.append(text)
    prompt = family.prompt(render_prompt(game.instructions, SAMPLE_HAND, SAMPLE_TITLES).messages())
    ids = tokenizer.encode(prompt)
    if ids != llama.tokenize(prompt) or ids.count(tokenizer.bos_token_id) > 1:
        different.append(prompt)
    return different


def token_counts(folder: Path, gguf_path: Path, family: Family, game: Game, count: int) -> list[tuple[str, int]]:
    """`count` random texts, and how many tokens llama.cpp finds in each, the one that opens a text among them.

    Ollama takes off an opening token that is written out, so no text begins with a special token.
    """
    llama = Llama(gguf_path, vocab_only=True)
    texts = (f"家{text}" for text in random_texts(count, game, special_tokens(load_tokenizer(folder), family)))
    return [(text, len(llama.tokenize(text))) for text in texts]


def _normalizer(tokenizer: Any) -> Callable[[str], str]:
    normalizer = tokenizer.backend_tokenizer.normalizer
    composes = normalizer is not None and normalizer.normalize_str(_DECOMPOSED) != _DECOMPOSED
    return normalizer.normalize_str if composes else str


def special_tokens(tokenizer: Any, family: Family) -> list[str]:
    """The tokenizer's own special tokens and those that the family's template writes."""
    template = family.chat_template
    written = {token.content for token in tokenizer.added_tokens_decoder.values() if token.content in template}
    return sorted(written | set(tokenizer.all_special_tokens))

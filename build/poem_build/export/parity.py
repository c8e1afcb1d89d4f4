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
from poem_build.errors import GateError
from poem_build.models.family import Family, family
from poem_build.models.load import load_tokenizer
from poem_build.models.tokens import opened
from poem_build.recipe.schema import Recipe

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


def refuse(found: Parity) -> None:
    """Raises `GateError` on any text whose token ids differ."""
    if found.different:
        raise GateError(
            f"base.pre_tokenizer: {len(found.different)} of {found.texts} texts get other token ids in llama.cpp than "
            f"in transformers, or do not come back from them, {found.different[0]!r} for one; name the split that the "
            "tokenizer makes"
        )


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
        if kind == 0 and special:
            return rng.choice(special)
        if kind <= 1:
            return rng.choice(phrases)
        source = {2: kana, 3: kanji}.get(kind, list(_ODD))
        return "".join(rng.choices(source, k=rng.randint(1, 8)))

    return ["".join(piece() for _ in range(rng.randint(1, 8))) for _ in range(count)]


def compare(folder: Path, gguf_path: Path, recipe: Recipe, game: Game) -> Parity:
    """The recipe's number of random texts, and the prompt: those whose token ids differ, transformers to llama.cpp.

    A text also differs if llama.cpp does not write it again from the ids, special tokens aside, where the vocabulary
    can write every text.

    SentencePiece may put a blank before a text; llama.cpp then puts one behind each special token too, and transformers
    as the tokenizer says. So such texts hold no special tokens; the prompt holds them where they stand.

    Texts are compared without the token that opens one (BOS), the prompt with it, as it is trained on and asked
    with: it must not be there twice. llama.cpp's BPE does not normalize; a tokenizer that does so by a rule of
    Unicode is compared on normalized texts.
    """
    count, talk = recipe.gate.token_parity_texts, family(recipe.base.family)
    tokenizer, llama = load_tokenizer(folder), Llama(gguf_path, vocab_only=True)
    normalize, blank = _normalizer(tokenizer), _opens_with_a_blank(tokenizer)
    special = special_tokens(tokenizer, talk)
    # llama.cpp writes some of them out, gpt-oss's for one.
    silent = [one for one in special if not llama.text(llama.tokenize(one, bos=False))]
    writes_all = tokenizer.unk_token_id not in tokenizer.encode("𠮷🏢", add_special_tokens=False)
    different = []
    for text in map(normalize, random_texts(count, game, [] if blank else special)):
        text = text.lstrip(" ") if blank else text
        ids = llama.tokenize(text, bos=False)
        same = tokenizer.encode(text, add_special_tokens=False) == ids
        if not same or (writes_all and llama.text(ids).removeprefix(" " * blank) != _without(text, silent)):
            different.append(text)
    prompt = talk.prompt(render_prompt(game.instructions, SAMPLE_HAND, SAMPLE_TITLES).messages())
    ids = opened(tokenizer, prompt)
    if ids != llama.tokenize(prompt) or ids.count(tokenizer.bos_token_id) > 1:
        different.append(prompt)
    return Parity(texts=count, different=different)


def token_counts(gguf_path: Path, talk: Family, game: Game, count: int) -> list[tuple[str, int]]:
    """`count` random texts, and how many tokens llama.cpp finds in each, the one that opens a text among them.

    Ollama takes off an opening token that is written out, so no text begins with a special token.
    """
    llama = Llama(gguf_path, vocab_only=True)
    written = sorted(set(re.findall(r"<[^<>\s]+>", talk.chat_template)) | {*talk.stop})
    special = [one for one in written if len(llama.tokenize(one, bos=False)) == 1]
    texts = (f"家{text}" for text in random_texts(count, game, special))
    return [(text, len(llama.tokenize(text))) for text in texts]


def _without(text: str, special: Sequence[str]) -> str:
    return re.sub("|".join(map(re.escape, special)), "", text) if special else text


def _normalizer(tokenizer: Any) -> Callable[[str], str]:
    normalizer = tokenizer.backend_tokenizer.normalizer
    composes = normalizer is not None and normalizer.normalize_str(_DECOMPOSED) != _DECOMPOSED
    if not composes:
        return str
    # Letter by letter first: tokenizers takes what stands together for one, a tab with a mark on it say.
    return lambda text: str(normalizer.normalize_str("".join(map(normalizer.normalize_str, text))))


def _opens_with_a_blank(tokenizer: Any) -> bool:
    """Whether the tokenizer puts SentencePiece's blank before a text."""
    ids = tokenizer.encode("家", add_special_tokens=False)
    return str(tokenizer.convert_ids_to_tokens(ids[0])).startswith("▁")


def special_tokens(tokenizer: Any, talk: Family) -> list[str]:
    """The tokenizer's own special tokens and those that the family's template writes."""
    template = talk.chat_template
    written = {token.content for token in tokenizer.added_tokens_decoder.values() if token.content in template}
    return sorted(written | set(tokenizer.all_special_tokens))

"""A model folder and its GGUF → the texts that the two tokenize differently."""

from pathlib import Path
from random import Random

from poem.deck import builtin_deck
from poem.words import words
from poem_build.chat import SPECIAL_TOKENS
from poem_build.llama import Llama
from poem_build.models import load_tokenizer

_ODD = (
    "ー々〇〆ヶ・「」『』…―、。"
    "ABCxyz0123456789!?#%&()[]{}<>\"'\\/.,:;+-*=_~^|`@$ \t\n\n\n　"
    "ＡＢＣ０１２３！？～ｶﾞﾊﾟ①㈱㍿髙﨑𠮷"
    "🏢🌸👨‍👩‍👧🇯🇵😀"
    "\u304c\u304b\u3099\u200b\u00a0éñß"
)


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Japanese texts with special tokens, full-width forms, emoji, blanks and line breaks, seeded."""
    rng = Random(f"parity {seed}")
    phrases = [card.condition_text for card in builtin_deck().cards] + list(builtin_deck().catchphrases)
    phrases += [s.text for fragments in words().fragments.values() for s in fragments]
    kana = [chr(code) for code in range(0x3041, 0x30FB)]
    kanji = [chr(code) for code in range(0x4E00, 0x9FA0)]

    def piece() -> str:
        kind = rng.randrange(6)
        if kind == 0:
            return rng.choice(SPECIAL_TOKENS)
        if kind == 1:
            return rng.choice(phrases)
        source = {2: kana, 3: kanji}.get(kind, list(_ODD))
        return "".join(rng.choices(source, k=rng.randint(1, 8)))

    return ["".join(piece() for _ in range(rng.randint(1, 8))) for _ in range(count)]


def differing_texts(folder: Path, gguf_path: Path, count: int) -> list[str]:
    """Those of `count` random texts whose token ids differ between transformers and llama.cpp.

    llama.cpp's BPE does not normalize; a tokenizer that does is compared on normalized texts.
    """
    tokenizer = load_tokenizer(folder)
    normalizer = tokenizer.backend_tokenizer.normalizer
    texts = random_texts(count)
    if normalizer is not None:
        texts = [normalizer.normalize_str(text) for text in texts]
    llama = Llama(gguf_path, vocab_only=True)
    return [
        text for text in texts if tokenizer.encode(text, add_special_tokens=False) != llama.tokenize(text, bos=False)
    ]

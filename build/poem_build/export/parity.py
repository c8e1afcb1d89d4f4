"""A model folder, its GGUF and an Ollama → the texts that they tokenize differently."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from poem.deck import builtin_deck
from poem.prompt import SAMPLE_HAND, SAMPLE_TITLES, render_prompt
from poem.words import words
from poem_build.engine.llama import Llama
from poem_build.models.chat import chat_template, render_chat
from poem_build.models.load import load_tokenizer
from poem_build.progress import progress

_ODD = (
    "ー々〇〆ヶ・「」『』…―、。"
    "ABCxyz0123456789!?#%&()[]{}<>\"'\\/.,:;+-*=_~^|`@$ \t\n\n\n　"
    "ＡＢＣ０１２３！？～ｶﾞﾊﾟ①㈱㍿髙﨑𠮷"
    "🏢🌸👨‍👩‍👧🇯🇵😀"
    "\u304c\u304b\u3099\u200b\u00a0éñß"
)
_DECOMPOSED = "\u304b\u3099"


def random_texts(count: int, special: Sequence[str], seed: int = 0) -> list[str]:
    """Japanese texts with the special tokens, full-width forms, emoji, blanks and line breaks, seeded."""
    rng = Random(f"parity {seed}")
    phrases = [card.condition_text for card in builtin_deck().cards] + list(builtin_deck().catchphrases)
    phrases += [s.text for fragments in words().fragments.values() for s in fragments]
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


def differing_texts(folder: Path, gguf_path: Path, family: str, count: int) -> list[str]:
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
    for text in map(normalize, random_texts(count, special)):
        ids = llama.tokenize(text, bos=False)
        if tokenizer.encode(text, add_special_tokens=False) != ids or llama.text(ids) != silent.sub("", text):
            different.append(text)
    prompt = render_chat(family, render_prompt(SAMPLE_HAND, SAMPLE_TITLES).messages(), answer_follows=True)
    ids = tokenizer.encode(prompt)
    if ids != llama.tokenize(prompt) or ids.count(tokenizer.bos_token_id) > 1:
        different.append(prompt)
    return different


def token_counts(folder: Path, gguf_path: Path, family: str, count: int) -> list[tuple[str, int]]:
    """`count` random texts, and how many tokens llama.cpp finds in each, the one that opens a text among them.

    Ollama takes off an opening token that is written out, so no text begins with a special token.
    """
    llama = Llama(gguf_path, vocab_only=True)
    texts = (f"家{text}" for text in random_texts(count, special_tokens(load_tokenizer(folder), family)))
    return [(text, len(llama.tokenize(text))) for text in texts]


def miscounted_texts(host: str, model: str, counts: Sequence[tuple[str, int]]) -> list[str]:
    """Those of the texts in which Ollama's `prompt_eval_count` is another number of tokens than the one beside it.

    Ollama tells no ids, but counts the whole prompt, cached or not.
    """
    import httpx

    # num_predict 0 would mean no limit. An answer cut amid a character is dropped, count and all, so it is a boolean.
    asked = {"model": model, "raw": True, "stream": False, "options": {"num_predict": 1}, "format": {"type": "boolean"}}
    different = []
    with httpx.Client(base_url=host, timeout=600) as client:
        for text, expected in progress(counts, "counting tokens in Ollama"):
            reply = client.post("/api/generate", json=asked | {"prompt": text}).raise_for_status().json()
            if reply.get("prompt_eval_count") != expected:
                different.append(text)
    return different


def _normalizer(tokenizer: Any) -> Callable[[str], str]:
    normalizer = tokenizer.backend_tokenizer.normalizer
    composes = normalizer is not None and normalizer.normalize_str(_DECOMPOSED) != _DECOMPOSED
    return normalizer.normalize_str if composes else str


def special_tokens(tokenizer: Any, family: str) -> list[str]:
    """The tokenizer's own special tokens and those that the family's template writes."""
    template = chat_template(family)
    written = {token.content for token in tokenizer.added_tokens_decoder.values() if token.content in template}
    return sorted(written | set(tokenizer.all_special_tokens))

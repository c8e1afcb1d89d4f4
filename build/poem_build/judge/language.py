"""Japanese text → what a morphological analyser says of it: whether a sentence is whole, and its content lemmas.

SudachiPy with its core dictionary (Takaoka et al. 2018, "Sudachi: a Japanese Tokenizer for Business"), split mode C.
"""

from functools import cache
from typing import Any

_ENDS_A_SENTENCE = ("終止形", "命令形")
"""Forms of a verb, an adjective or an auxiliary that can end one."""
_NO_END = frozenset({"助詞", "接頭辞", "連体詞", "接続詞"})
_NO_BEGINNING = frozenset({"助詞", "助動詞", "接尾辞"})
_LAST_PARTICLES = frozenset({"終助詞"})
_CASE_PARTICLES = frozenset({"格助詞", "接続助詞", "副助詞"})
_CONTENT = frozenset({"名詞", "動詞", "形容詞", "形状詞"})
_EMPTY = frozenset(
    ["為る", "居る", "有る", "成る", "事", "物", "所", "為", "様", "其れ", "此れ", "一", "人", "言う", "無い"]
)
"""Lemmas that say too little to be an echo."""


def is_whole(sentence: str) -> bool:
    """Whether the sentence begins and ends as a sentence can.

    It ends with a form that closes it, with a noun (体言止め), or with a particle that an inversion
    (「灯がともる、帰る人のために。」) or a parallel (「春には待つことを、冬には聴くことを。」) calls for. What was cut
    to a length often ends in a particle or in a form that something must follow; a cut after a noun is not seen here.
    """
    *before, last = _clauses(sentence)
    first = before[0] if before else last
    if not first or not last or _kind(first[0]) in _NO_BEGINNING:
        return False
    if _closes(last[-1]):
        return True
    earlier = [clause[-1] for clause in before if clause]
    if _kind(last[-1]) != "助詞" or last[-1].part_of_speech()[1] not in _CASE_PARTICLES:
        return False
    return any(_is_closed(token) or token.surface() == last[-1].surface() for token in earlier)


def content_lemmas(text: str) -> frozenset[str]:
    """The normalised forms of the text's nouns, verbs and adjectives, those that say little aside."""
    found = {token.normalized_form() for token in _tokens(text) if token.part_of_speech()[0] in _CONTENT}
    return frozenset(found - _EMPTY)


def lemmas(text: str) -> tuple[str, ...]:
    """The normalised forms of all of the text's words, in order."""
    return tuple(token.normalized_form() for token in _tokens(text))


def _closes(token: Any) -> bool:
    """Whether a sentence can end with the token."""
    kind, subkind = token.part_of_speech()[:2]
    if kind == "助詞":
        return subkind in _LAST_PARTICLES
    return _is_closed(token) if _form(token) else kind not in _NO_END


def _is_closed(token: Any) -> bool:
    # Most verbs have one form for the end of a sentence and before a noun; the analyser guesses which it is.
    form = _form(token)
    return form.startswith(_ENDS_A_SENTENCE) or (bool(form) and token.surface() == token.dictionary_form())


def _form(token: Any) -> str:
    form = str(token.part_of_speech()[5])
    return "" if form == "*" else form


def _kind(token: Any) -> str:
    return str(token.part_of_speech()[0])


def _clauses(sentence: str) -> list[list[Any]]:
    """The words between the commas."""
    found: list[list[Any]] = [[]]
    for token in _tokens(sentence):
        if token.surface() == "、":
            found.append([])
        elif _kind(token) not in ("補助記号", "空白"):
            found[-1].append(token)
    return found


def _tokens(text: str) -> list[Any]:
    return list(_tokenizer().tokenize(text))


@cache
def _tokenizer() -> Any:
    from sudachipy import Dictionary, SplitMode

    return Dictionary().tokenizer(mode=SplitMode.C)

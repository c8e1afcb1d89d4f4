"""An answer and its hand → the rules that it breaks. The data set, the gates and the service share these."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from poem import shape
from poem.deck import giveaway_terms
from poem.hand import Answer, Hand


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: its name, the place (`title`, `poem`, `paragraph 2` …) and what was found there."""

    rule: str
    place: str
    found: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.place}: {self.found}"


Found = Iterator[tuple[str, str]]

# ます is the polite ending after an い- or え-row kana or a kanji (行きます, 見ます). The plain verbs that
# end so (澄ます, 覚ます, 励ます …) have another row or one of these kanji before it; はげます is the exception.
# What may follow a polite ending: the end of a clause or a particle. です and でした take が and か with care,
# as with a plain verb they begin 手ですがる, 指ですかす and 犬でしたがえる; くださ without care would be 手をくださず.
_GOES_ON = r"[。、」』ねよ]|けれ?ど|から|ので|のに|し、|と、|$"
_POLITE = re.compile(
    r"(?:(?<!は)げ|[いきしちにひみりぎじびぴえけせてねへめれぜでべぺ]|[一-鿿](?<![澄覚励済冷醒悩騙和眩晦暗]))"
    rf"(?:ま(?:す|した)(?=[かが]|{_GOES_ON})|ません|ましょう|まして(?=、))"
    rf"|です(?=か[。、」』]|が(?![らりるれろったすめ])|{_GOES_ON})|でした(?=か[。、」』]|が(?![わいうえおっ])|{_GOES_ON})"
    r"|でしょう|でございま|(?:くだ|下)さ[いらりるっ]"
)
# かも at the end of a clause is not しかも or 何もかも, らしい after a verb not かわいらしい or あたらしい,
# みたいだ not 読みたいだけ.
_CONJECTURE = re.compile(
    r"だろう|であろう|でしょう|かも(?:しれ|知れ)|(?<![しも])かもね?(?=[。、」』]|$)|おそらく|恐らく"
    r"|(?:に|には)(?:違い|ちがい)(?:ない|あるまい)|はず(?:だ|で)|みたいだ(?!け)|と思われ|ではないか|[るたい]ようだ。"
    r"|[るたい](?<!かわい)(?<!憎た|くた|あた|ごた|練た)(?<!めった|長った)らし(?:い|く|かった)"
)
_ADDRESS = re.compile(r"あなた|アナタ|貴[方女殿]")
# The open ones, and those that say the same by another name (docs/log.md has what each costs the poems by hand).
_SUPERLATIVE = re.compile(
    "最高|一番|絶対|完璧|完全|いちばん|(?:何|なに)より(?=[もの])|[ふ二]たつとない|二つとない|とびきり|唯一"
)
# A drawback told by saying that it is none: 「遠くはない」.
_DENIAL = re.compile(
    "(?:遠|悪|狭|暗|寒|暑|古|低|弱|汚|臭|うるさ|騒がし)く(?:は|も)な(?:い|く)|不便(?:で|に)は?(?:ない|なく)"
)
DEFINITION = "である。"
DEFINITIONS_MAX = 2
"""In a row; the third makes a list of definitions of the poem."""
# A shorter wording is a word rather than a phrase; a poem may use words.
PHRASE = 4


def check(
    answer: Answer,
    hand: Hand,
    candidates: Collection[str],
    waived: Collection[str] = (),
    *,
    any_wording: bool = False,
) -> list[Violation]:
    """Every violation of the answer, in the order of the rules; `waived` names rules to leave out.

    With `any_wording` the poem must be fit for these cards whatever wordings are picked, as one in a table must.

    Giveaway terms are looked for in the poem alone: no catch-copy of the built-in deck holds one, as a test
    makes sure, and a user's own catch-copies are the user's. A model may put a title in another Unicode form.
    """
    poem = answer.poem
    found: list[Violation] = []
    for rule, search in _POEM_RULES.items():
        if rule not in waived:
            found += [Violation(rule, place, what) for place, what in search(poem)]
    if unicodedata.normalize("NFC", answer.title) not in candidates:
        found.append(Violation("title", "title", f"{answer.title!r} is not one of the candidates"))
    for pair in hand.pairs:
        if "giveaway" not in waived:
            for term in giveaway_terms(pair.card):
                if term in poem:
                    found.append(Violation("giveaway", pair.card.id, term))
        if "copied" not in waived:
            for wording in pair.card.poems if any_wording else (pair.wording,):
                text = wording.poem_text
                if len(text) >= PHRASE and text in poem:
                    found.append(Violation("copied", wording.id, text))
    return found


def style_violations(text: str) -> list[Violation]:
    """Violations of a piece of a poem (a sentence, a catch-copy), whatever its length."""
    return [Violation(rule, place, what) for rule in _STYLE_RULES for place, what in _POEM_RULES[rule](text)]


def sentence_violations(text: str) -> list[Violation]:
    """Violations of a sentence, or of two, that shall stand in poems."""
    broken = [*style_violations(text), *(Violation("sentence", place, what) for place, what in _sentence(text))]
    if shape.PARAGRAPH_BREAK in text:
        broken.append(Violation("paragraphs", "paragraph 1", "a line break"))
    return broken


def _paragraphs(poem: str) -> Found:
    count = len(shape.paragraphs(poem))
    if not shape.PARAGRAPHS[0] <= count <= shape.PARAGRAPHS[1]:
        yield "poem", f"{count} paragraphs, not {shape.PARAGRAPHS[0]} or {shape.PARAGRAPHS[1]}"
    for n, text in enumerate(shape.paragraphs(poem), 1):
        if not text:
            yield f"paragraph {n}", "empty"


def _length(poem: str) -> Found:
    breaks = poem.count(shape.PARAGRAPH_BREAK)
    if len(poem) - breaks < shape.POEM_LENGTH.start or len(poem) >= shape.POEM_LENGTH.stop:
        yield "poem", f"{len(poem)} characters with {breaks} line breaks, not 180 to 240 both with and without"


def _ending(poem: str) -> Found:
    for n, text in enumerate(shape.paragraphs(poem), 1):
        if text and not text.endswith("。"):
            yield f"paragraph {n}", f"ends with {text[-1]!r}, not 「。」"


def _sentence(poem: str) -> Found:
    for n, text in enumerate(shape.paragraphs(poem), 1):
        for sentence in shape.sentences(text):
            if len(sentence) > shape.SENTENCE[1]:
                yield f"paragraph {n}", f"a sentence of {len(sentence)} characters, over {shape.SENTENCE[1]}"
            elif sentence == "。":
                yield f"paragraph {n}", "an empty sentence"


def _repeated(poem: str) -> Found:
    seen: set[str] = set()
    for n, text in enumerate(shape.paragraphs(poem), 1):
        for sentence in shape.sentences(text):
            if sentence in seen:
                yield f"paragraph {n}", sentence
            seen.add(sentence)


def _definitions(poem: str) -> Found:
    row = 0
    for n, text in enumerate(shape.paragraphs(poem), 1):
        for sentence in shape.sentences(text):
            row = row + 1 if sentence.endswith(DEFINITION) else 0
            if row > DEFINITIONS_MAX:
                yield f"paragraph {n}", f"{row} sentences in a row end with 「{DEFINITION}」"


def _characters(poem: str) -> Found:
    if found := shape.junk(poem):
        yield _place(poem, found), f"{found.group()!r} (U+{ord(found.group()):04X})"


def _matcher(pattern: re.Pattern[str]) -> Callable[[str], Found]:
    def search(poem: str) -> Found:
        for found in pattern.finditer(poem):
            yield _place(poem, found), found.group()

    return search


def _place(poem: str, found: re.Match[str]) -> str:
    return f"paragraph {poem.count(shape.PARAGRAPH_BREAK, 0, found.start()) + 1}"


_POEM_RULES: dict[str, Callable[[str], Found]] = {
    "paragraphs": _paragraphs,
    "length": _length,
    "ending": _ending,
    "sentence": _sentence,
    "repeated": _repeated,
    "characters": _characters,
    "polite": _matcher(_POLITE),
    "conjecture": _matcher(_CONJECTURE),
    "address": _matcher(_ADDRESS),
    "superlative": _matcher(_SUPERLATIVE),
    "denial": _matcher(_DENIAL),
    "definitions": _definitions,
}
_STYLE_RULES = ("characters", "polite", "conjecture", "address", "superlative", "denial")
RULES = (*_POEM_RULES, "title", "giveaway", "copied")
"""The names of all rules."""

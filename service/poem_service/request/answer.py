"""A model's text → a checked answer, repaired where repairing cannot change what it says."""

import re
import unicodedata
from dataclasses import dataclass

from poem.hand import Answer, Hand
from poem.outline import Outline, decode_outline
from poem.rules import Violation, check
from poem.shape import PARAGRAPH_BREAK, decode
from poem_service.errors import AnswerError, Reason

_HALF_WIDTH = re.compile("[｡､｢｣･]")
_FULL_WIDTH = str.maketrans("｡､｢｣･", "。、「」・")
_BREAKS = re.compile(r"[ \t\u3000]*(?:\r\n?|\n)[\s\u3000]*")
_THOUGHTS_END = "</think>"
_ORNAMENT = re.compile(r"^(?:\d{1,2}\s*[.．)]\s*)?[「『\"']?(.*?)[」』\"']?$", re.DOTALL)


class RuleError(AnswerError):
    """A whole answer that breaks rules."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__(Reason.RULES, "; ".join(map(str, violations)))
        self.violations = violations


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """An answer that keeps every rule, and which repairs it took."""

    answer: Answer
    repairs: tuple[str, ...]


def check_answer(text: str, hand: Hand, candidates: tuple[str, ...]) -> CheckedAnswer:
    """The answer in the text. Raises `AnswerError` (malformed) or `RuleError`."""
    repairs: list[str] = []
    try:
        answer = decode(text)
    except (ValueError, RecursionError):
        answer = _unwrapped(text)
        repairs.append("unwrapped")
    title, poem = _title(answer.title, candidates), _poem(answer.poem)
    if title != answer.title:
        repairs.append("title")
    if poem != answer.poem:
        repairs.append("spacing")
    answer = Answer(title, poem)
    if violations := check(answer, hand, candidates):
        raise RuleError(violations)
    return CheckedAnswer(answer, tuple(repairs))


def read_outline(text: str, candidates: tuple[str, ...]) -> Outline:
    """The outline in the text, under one of the candidates. Raises `AnswerError` (malformed)."""
    try:
        outline = decode_outline(_object(text))
    except ValueError as error:
        raise AnswerError(Reason.MALFORMED, f"{error} in {text[:80]!r}") from error
    title = _title(outline.title, candidates)
    if title not in candidates:
        raise AnswerError(Reason.MALFORMED, f"the outline's title {title!r} is no candidate")
    return Outline(title, outline.words)


def _unwrapped(text: str) -> Answer:
    """The answer inside a code fence, talk, or behind thoughts; one that was cut is not repaired."""
    try:
        return decode(_object(text))
    except (ValueError, RecursionError) as error:
        raise AnswerError(Reason.MALFORMED, f"{error} in {text[:80]!r}") from error


def _object(text: str) -> str:
    """The JSON object in a text, whatever stands around it."""
    text = text.rpartition(_THOUGHTS_END)[2]
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise AnswerError(Reason.MALFORMED, f"no JSON object in {text[:80]!r}")
    return text[start : end + 1]


def _title(title: str, candidates: tuple[str, ...]) -> str:
    """The candidate that was meant: without its number, quotation marks or outer blanks."""
    if title in candidates:
        return title
    bare = unicodedata.normalize("NFC", title).strip()
    found = _ORNAMENT.match(bare)
    return found.group(1) if found and found.group(1) in candidates else title


def _poem(poem: str) -> str:
    """One line break between paragraphs, no outer blanks, full-width punctuation."""
    text = unicodedata.normalize("NFC", poem).strip()
    if _HALF_WIDTH.search(text):
        text = text.translate(_FULL_WIDTH)
    return _BREAKS.sub(PARAGRAPH_BREAK, text)

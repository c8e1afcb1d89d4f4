"""Token ids of a prompt and its answer."""

from dataclasses import dataclass
from typing import Any

_BLANK = "▁"  # SentencePiece's


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of an example: the prompt up to where the answer begins, and the answer with its end."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def opened(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that goes on: with the token that opens one, without the one that T5's tokenizer ends it with."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=True)
    bare = len(tokenizer.encode(text, add_special_tokens=False))
    while len(ids) > bare and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids


def continued(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that stands behind another: without the blank that SentencePiece puts before one."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if not text.startswith(" ") and tokenizer.convert_ids_to_tokens(ids[0]).startswith(_BLANK):
        before = tokenizer.encode("。", add_special_tokens=False)
        whole: list[int] = tokenizer.encode(f"。{text}", add_special_tokens=False)
        return whole[len(before) :] if whole[: len(before)] == before else ids
    return ids

"""A JSONL of preferences → prompts as tokens, each with the answer that was chosen and the one that was not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from poem_build.errors import DatasetError
from poem_build.models.family import Family, Messages
from poem_build.store.text import lines_of, read_text


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt: str | list[dict[str, str]]
    """Messages, or what the user says."""
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Preference:
    """Token ids, as they are when the model is asked and answers."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    def __len__(self) -> int:
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


def read_preferences(path: Path, tokenizer: Any, talk: Family) -> list[Preference]:
    """The file's lines. Raises `DatasetError` for one that is none, or prefers what it rejects."""
    text = read_text(path, DatasetError, "give another file as train.preferences")
    found = [_read(path, n, line, tokenizer, talk) for n, line in lines_of(text)]
    if len(found) < 2:
        raise DatasetError(f"{path}: holds {len(found)} preferences; one to learn from and one to look at are needed")
    return found


def _read(path: Path, number: int, text: str, tokenizer: Any, talk: Family) -> Preference:
    try:
        line = _Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise DatasetError(f"{path}:{number}: {where}: {first['msg']}; a line has prompt, chosen, rejected") from error
    if line.chosen == line.rejected:
        raise DatasetError(f"{path}:{number}: rejected: is what was chosen; remove the line")
    asked: Messages = line.prompt if isinstance(line.prompt, list) else [{"role": "user", "content": line.prompt}]
    chosen, rejected = (
        talk.tokens(tokenizer, [*asked, {"role": "assistant", "content": answer}])
        for answer in (line.chosen, line.rejected)
    )
    return Preference(chosen.prompt, chosen.answer, rejected.answer)

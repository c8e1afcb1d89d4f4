"""A name on the command line → the writer that it means, checked before anybody has played for hours.

`model` is the recipe's quantized model as it is served; `f16`, `Q8_0` … its other GGUF files, `adapter` the base with
the adapter on it by transformers, `base` the base alone. `/free` after a model's name asks without the schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poem_build.errors import WriterError
from poem_build.evaluation.hands import BY_HAND, TEACHER
from poem_build.evaluation.report import MODEL
from poem_build.recipe.quantize import MIXTURES

COMPOSER, BASE, ADAPTER, TABLE, F16_NAME = "composer", "base", "adapter", "table", "f16"
FREE = "/free"
LOCAL = (MODEL, BASE, ADAPTER, F16_NAME, *MIXTURES, COMPOSER, BY_HAND, TEACHER)
ADDRESSED = (TABLE, "embedded", "ollama", "openai")
"""With what follows a colon: a file, or a model's name."""
_ROLES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(MIXTURES, ("gguf", "f16")),
    **{MODEL: ("gguf",), F16_NAME: ("gguf", "f16"), BASE: ("gguf", "base"), ADAPTER: ("gguf", "base", "adapter")},
}


@dataclass(frozen=True)
class WriterName:
    """Who writes: of what kind, with which file or model's name, and whether without the schema."""

    kind: str
    place: str = ""
    """What follows the colon; empty where nothing does."""
    free: bool = False

    @classmethod
    def of(cls, text: str) -> "WriterName":
        """The parts of a name, whether or not anybody is called so."""
        plain = text.removesuffix(FREE)
        kind, _, place = plain.partition(":")
        return cls(kind, place, plain != text)

    def __str__(self) -> str:
        return f"{self.kind}{self.place and f':{self.place}'}{FREE if self.free else ''}"


def writer_names(texts: Sequence[str], option: str = "--writers") -> tuple[WriterName, ...]:
    """The names. Raises `WriterError` for a writer that nobody knows, naming the option that it was given by."""
    for text in texts:
        name = WriterName.of(text)
        if not (name.kind in ADDRESSED and name.place) and not (name.kind in LOCAL and ":" not in text):
            known = ", ".join([*LOCAL, *(f"{one}:…" for one in ADDRESSED)])
            raise WriterError(f"{option} {text}: nobody is called so; known are {known}; {FREE} asks without a schema")
        if name.free and name.kind in (COMPOSER, BY_HAND, TEACHER, TABLE):
            raise WriterError(f"{option} {text}: {name.kind} is asked with no schema anyway; leave {FREE} out")
    if len(set(texts)) < len(texts):
        raise WriterError(f"{option}: {max(texts, key=texts.count)} is there twice; give each once")
    return tuple(map(WriterName.of, texts))


def files(names: Sequence[WriterName]) -> Mapping[str, Path]:
    """The files outside that writers read."""
    return {f"writer {one.place}": Path(one.place) for one in names if one.kind in (TABLE, "embedded")}


def check_files(names: Sequence[WriterName]) -> None:
    """Raises `WriterError` for a file that is not there."""
    for path in files(names).values():
        if not path.is_file():
            raise WriterError(f"--writers {path}: there is no such file; give another")


def roles(name: WriterName) -> tuple[str, ...]:
    """The artifacts that a model among the writers is made from; none for one from outside.

    Raises `WriterError` for whoever is no model.
    """
    if name.kind not in _ROLES and name.kind not in ("embedded", "ollama", "openai"):
        raise WriterError(
            f"--writer {name}: is no model; give one of model, f16, base, adapter, a mixture such as Q8_0, "
            "embedded:FILE, ollama:MODEL or openai:MODEL"
        )
    return _ROLES.get(name.kind, ())

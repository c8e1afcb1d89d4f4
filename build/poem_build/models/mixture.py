"""A GGUF file → the mixture of types that its tensors are in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poem_build.errors import ModelFileError
from poem_build.models.converter import gguf
from poem_build.recipe.quantize import SERVED_MIXTURE

_WHOLE = ("F32", "F16", "BF16")


def file_type(path: Path) -> str:
    """The mixture that most of the GGUF's tensors are in, `Q4_K_M` say.

    Raises `ModelFileError` if it is no GGUF, or one of several that hold a model together.
    """
    with readable(path):
        reader = gguf().GGUFReader(path)
        parts = reader.get_field("split.count")
        if parts and (count := int(parts.contents())) > 1:
            raise ModelFileError(
                f"{path}: base.gguf: is one of {count} parts of a model; join them with `llama-gguf-split --merge`"
            )
        field = reader.get_field("general.file_type")
        if field is None:
            raise ValueError("general.file_type is not there")
        kind: str = gguf().LlamaFileType(field.contents()).name
    return kind.removeprefix("MOSTLY_").removeprefix("ALL_")


def unfit(path: Path) -> str:
    """Why the GGUF, as it comes, cannot become the one that is served; empty if it can. Raises as `file_type` does."""
    if (kind := file_type(path)) in (SERVED_MIXTURE, *_WHOLE):
        return ""
    return f"is {kind}; give one in {SERVED_MIXTURE}, which is taken as it is, or in F16"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What is raised of a file that is no whole GGUF, as one line."""
    try:
        yield
    except (OSError, ValueError, IndexError, KeyError, ImportError) as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(f"{path}: base.gguf: no whole GGUF that transformers reads: {told}") from error

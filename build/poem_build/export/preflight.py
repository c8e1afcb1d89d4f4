"""A base → whether the chain can take it, found out before anything is trained: architecture, spelling, token ids."""

import tempfile
from pathlib import Path
from typing import Any

from poem.game import Game
from poem_build.data.chats import read_chats
from poem_build.errors import ModelFileError
from poem_build.export import parity
from poem_build.export.edits import Layout
from poem_build.export.gguf import convert_folder
from poem_build.export.parity import Parity
from poem_build.export.streaming import sources
from poem_build.models import architectures, family
from poem_build.models.context import check_poem_prompts
from poem_build.models.converter import VERSION
from poem_build.models.load import load_tokenizer, refuse_quantized, skeleton
from poem_build.models.origin import read_origin
from poem_build.models.shapes import of_folder
from poem_build.models.tokens import Tokens
from poem_build.recipe.schema import Recipe
from poem_build.recipe.shape import Shape
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Finished, Job, Stage, part, sections


class PreflightReport(Report):
    """What the base is, and whether llama.cpp reads texts as transformers does."""

    architecture: str
    token_parity: Parity


def run(job: Job) -> PreflightReport:
    """Look at config and weights, write the vocabulary alone as GGUF, and compare token ids.

    Raises `ModelFileError` for an architecture that cannot be served as it is trained, for weights that are quantized,
    not whole or of another config, for a base of another family, and for a vocabulary that has no token for a character
    of an answer; `RecipeError` for one that makes the second of two stages' prompts too long.
    """
    base, recipe = job.path("base"), job.recipe
    architecture = check_config(base, recipe).architecture
    _check_weights(base)
    found = check_tokenizer(base, recipe, job.game, job.path("dataset"))
    return PreflightReport(architecture=architecture, token_parity=found)


def gate(finished: Finished) -> None:
    """Refuses on any text whose token ids differ."""
    parity.refuse(finished.artifact.report(PreflightReport).token_parity)


def check_config(base: Path, recipe: Recipe) -> Shape:
    """The base's shape, of which no weights need be there. Raises what `run` does of architecture and number format."""
    shape = of_folder(base)
    architectures.refuse_unfit(shape.architecture, str(base))
    if recipe.serve.unmerged:
        architectures.refuse_as_adapter(shape.architecture, str(base))
    refuse_quantized(base)
    return shape


def check_tokenizer(base: Path, recipe: Recipe, game: Game, dataset: Path | None) -> Parity:
    """How llama.cpp reads texts beside transformers; the base's weights need not be there.

    Raises what `run` does of family and vocabulary, of what stands in the data set if there is one.
    """
    talk, tokenizer = family.family(recipe.base.family), load_tokenizer(base)
    family.check_end(talk, lambda text: tokenizer.encode(text, add_special_tokens=False), base)
    if dataset:
        examples = [talk.tokens(tokenizer, chat) for chat in read_chats(dataset / "valid.jsonl")]
        _check_spelling(tokenizer, base, examples)
        check_poem_prompts(recipe, examples)
    with tempfile.TemporaryDirectory() as work:
        vocabulary = Path(work) / "vocabulary.gguf"
        convert_folder(base, vocabulary, recipe, read_origin(dataset) if dataset else None, vocabulary_only=True)
        return parity.compare(base, vocabulary, recipe, game)


STAGE = Stage(
    name="preflight",
    summary="Prove that the chain can take the base, before anything is trained.",
    makes="preflight",
    work=run,
    report=PreflightReport,
    settings=lambda recipe: {
        **{"name": recipe.name, "converter": VERSION},
        **sections("base", "serve", "dataset")(recipe),
        **part("gate", "token_parity_texts")(recipe),
    },
    inputs={"base": ALL, "dataset": ("valid.jsonl", "origin.json")},
    reads_game=True,
    outside=family.templates,
    modules=family.modules,
    packages=("torch", "transformers", "llama-cpp-python"),
    gate=gate,
)


def _check_weights(base: Path) -> None:
    if not sources(base, Layout(skeleton(base))).tensors and not any(base.glob("pytorch_model*.bin")):
        raise ModelFileError(f"{base}: holds no weights; fetch it again")


def _check_spelling(tokenizer: Any, base: Path, examples: list[Tokens]) -> None:
    unknown = tokenizer.unk_token_id
    for example in examples:
        answer = example.answer[:-1]  # the end of a turn may be the same token
        if unknown is not None and unknown in answer:
            told = tokenizer.decode(answer[: answer.index(unknown)])[-20:]
            raise ModelFileError(
                f"{base}: its vocabulary has no token for what follows {told!r} in an answer; give another base"
            )

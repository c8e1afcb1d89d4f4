"""A recipe (TOML) → one checked value per stage. No stage reads the environment; this is all it is told.

A section is part of the key of every stage that reads it, whole, but for the fields that are marked `exclude`. Those
say where something lies, which counts by its own digest; when a state is saved; or from where on a result passes, which
gates ask anew each time.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from poem.outline import Stages
from poem_build.errors import RecipeError
from poem_build.recipe.gate import Gate
from poem_build.recipe.presets import completed
from poem_build.recipe.quantize import Quantize
from poem_build.recipe.section import Count, Fraction, Positive, Section, Whole
from poem_build.recipe.shape import Shape
from poem_build.recipe.teaching import Teaching
from poem_build.recipe.training import Train

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FAMILIES = Path(__file__).resolve().parents[1] / "models" / "families"

HUB_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"


class Base(Section):
    """Where the pretrained weights come from, and to which family they belong."""

    hub: Annotated[str, Field(pattern=HUB_ID)] | None = Field(default=None, exclude=True)
    """A model of the Hugging Face hub, at a revision (commit, tag or branch)."""
    revision: Annotated[str, Field(min_length=1)] | None = Field(default=None, exclude=True)
    gguf: Path | None = Field(default=None, exclude=True)
    """A GGUF file, whose tensors are dequantized."""
    path: Path | None = Field(default=None, exclude=True)
    """A folder with weights, config and tokenizer."""
    family: str
    """How it is talked to: a module of `models/families/`."""
    pre_tokenizer: str | None = None
    """llama.cpp's name for the split that the tokenizer makes, where that is not its family's."""

    @model_validator(mode="after")
    def _one_source(self) -> "Base":
        given = [key for key in ("hub", "gguf", "path") if key in self.model_fields_set]
        if len(given) != 1:
            raise ValueError(f"exactly one of hub, gguf and path must be given, got {', '.join(given) or 'none'}")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub and revision go together: the model's id and its commit, tag or branch")
        if self.family not in (known := family_names()):
            raise ValueError(f"family: there is no {self.family!r}; families are {', '.join(known)}")
        return self

    @property
    def brought(self) -> bool:
        """Whether the folder has to be made from what `hub` or `gguf` names."""
        return self.path is None

    @property
    def name(self) -> str:
        """The hub's id with its revision, or the name of the file or folder."""
        place = self.gguf or self.path
        return place.name if place else f"{self.hub}@{self.revision}"


class Phase(Section):
    """A part of a pretraining: which text, how much of it, and how it is learnt (batch in documents)."""

    text: Literal["poems", "wordings", "lists"]
    documents: Positive
    batch: Positive
    learning_rate: float = Field(gt=0)


class Pretrain(Section):
    """How `poem-build base` makes the weights at `base.path`; only for a base that we make ourselves."""

    vocab_size: Annotated[Whole, Field(ge=300)]
    hidden_size: Positive
    intermediate_size: Positive
    layers: Positive
    heads: Positive
    kv_heads: Positive
    context: Positive
    seed: Whole = 0
    phases: Annotated[list[Phase], Field(min_length=1)]

    @property
    def shape(self) -> Shape:
        """Of the model that is made: Qwen2's, with tied embeddings."""
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "context")
        return Shape(architecture="Qwen2ForCausalLM", tied=True, **{name: getattr(self, name) for name in sizes})


class Dataset(Section):
    """How many hands each split has; which split a hand belongs to follows from its pattern key."""

    train: Positive
    valid: Positive
    test: Whole = Field(ge=2)
    """One has no interval."""
    stages: Stages = 1
    """2: the model learns to write a title and some words for a hand, then the poem for these from a short prompt."""
    handwritten: Count = 0
    """How often each poem written by hand that is not held out comes in the training split, besides the others."""
    taught: Path | None = Field(default=None, exclude=True)
    """A folder that `poem-build teacher run` left, whose poems are taken instead of composed ones, all of them."""
    filled: bool = False
    """Whether the composer fills training and validation up where a teacher wrote fewer poems than are asked for."""
    seed: Whole = 0


class Serve(Section):
    """What the Modelfile fixes, so that no request has to."""

    num_ctx: Positive
    num_predict: Positive
    temperature: float = Field(gt=0, le=2)
    top_p: float = Field(gt=0, le=1)
    top_k: Positive
    min_p: Fraction = 0.0
    repeat_penalty: float = Field(default=1.0, ge=1)
    unmerged: bool = Field(default=False, exclude=True)
    """Whether the adapter is served beside a quantized base that games share, instead of merged into one of its own."""


class Recipe(Section):
    """Everything that makes one model."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)]
    summary: Annotated[str, Field(pattern=r"^[^\n\r]+$")]
    licence: str
    notice: str = ""
    """What every copy of the model has to carry along besides the licence's name."""
    params: str
    status: Literal["proved here", "shape proved", "written"]
    """Run here on the real weights; on a small model of its architecture; or on neither."""
    device: Literal["auto", "cuda", "rocm", "mps", "cpu"] = Field(default="auto", exclude=True)
    """On which models run; `auto` takes the machine's best, which is part of what a trained model follows from."""
    adapter: Path | None = Field(default=None, exclude=True)
    """A folder with an adapter that `train` or `blend` left before: nothing is trained then."""
    base: Base
    shape: Shape | None = None
    """Of the base, where that is not at hand; `models.shapes` finds it wherever it is told."""
    pretrain: Pretrain | None = None
    dataset: Dataset
    teacher: Teaching = Teaching()
    train: Train | None = None
    """Without it the base is served as it is, with the prompt alone."""
    quantize: Quantize = Quantize()
    serve: Serve
    gate: Gate

    @property
    def training(self) -> Train:
        """How it is trained. Raises `RecipeError` where nothing is."""
        if self.train is None:
            raise RecipeError(f"recipe {self.name}: has no [train]: its base is served as it is; nothing to train")
        return self.train

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        spec, gate = self.pretrain, self.gate
        if gate.smoke_hands > self.dataset.test:
            raise ValueError(f"gate.smoke_hands: more hands than dataset.test has, {self.dataset.test}")
        gate.refuse_luck()
        if self.adapter and self.train is None:
            raise ValueError("adapter: needs [train], which says how it was trained; add that or remove it")
        if spec is not None:
            if spec.hidden_size % 256 or spec.intermediate_size % 256:
                raise ValueError("pretrain: hidden_size and intermediate_size must be multiples of 256 for K-quants")
            if spec.hidden_size % spec.heads or spec.heads % spec.kv_heads:
                raise ValueError("pretrain: heads must divide hidden_size, and kv_heads must divide heads")
        for name, told in (("pretrain", spec), ("shape", self.shape)):
            if told and self.serve.num_ctx > told.context:
                raise ValueError(f"serve.num_ctx: is beyond {name}.context, {told.context}")
        if self.serve.unmerged and (reason := self.unfit_unmerged):
            raise ValueError(f"serve.unmerged: {reason}")
        return self

    @property
    def unfit_unmerged(self) -> str:
        """Why what is trained cannot be served as an adapter beside its base; empty if it can."""
        if self.train is None:
            return "nothing is trained, so there is no adapter"
        if self.train.method == "full":
            return "train.method full changes all weights and leaves no adapter; lora does"
        if self.train.new_tokens:
            return "a GGUF adapter cannot hold the trained tokens of train.new_tokens; merge it, or train without them"
        if refused := self.quantize.bound:
            return f"quantize: {refused[0]} needs an importance matrix, which a base that games share has not"
        return ""

    def as_unmerged(self) -> "Recipe":
        """The recipe with its adapter served beside a shared base. Raises `RecipeError` where it cannot be."""
        if reason := self.unfit_unmerged:
            raise RecipeError(f"recipe {self.name}: --unmerged: {reason}")
        return self.model_copy(update={"serve": self.serve.model_copy(update={"unmerged": True})})


def load_recipe(name: str) -> Recipe:
    """The recipe of that name, or in the TOML file at that path; a relative `base.path` starts at the file.

    Raises `RecipeError` naming the file, the field and what is allowed.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not RECIPES.is_dir():
        raise RecipeError(
            f"{RECIPES}: not there; the build stage runs from a checkout, installed with `pip install -e`"
        )
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise RecipeError(f"recipe {name!r}: no such recipe; known are {known}, or give the path of a .toml file")
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error
    try:
        recipe = Recipe.model_validate(completed(content, Train.model_fields))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        told = f", got {first['input']!r}" if first["type"] not in {"missing", "extra_forbidden", "value_error"} else ""
        remedy = "; remove it or correct its name" if first["type"] == "extra_forbidden" else ""
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{path}: {field + ': ' if field else ''}{message}{told}{remedy}") from error
    taught = recipe.dataset.taught and (path.parent / recipe.dataset.taught).resolve()
    dataset = recipe.dataset.model_copy(update={"taught": taught})
    adapter = recipe.adapter and (path.parent / recipe.adapter).resolve()
    change: dict[str, Any] = {"base": _absolute(recipe.base, path.parent), "dataset": dataset, "adapter": adapter}
    if recipe.train and recipe.train.preferences:
        preferences = (path.parent / recipe.train.preferences).resolve()
        change["train"] = recipe.train.model_copy(update={"preferences": preferences})
    return recipe.model_copy(update=change)


def _absolute(base: Base, start: Path) -> Base:
    given = base.model_fields_set & {"gguf", "path"}
    return base.model_copy(update={key: (start / getattr(base, key)).resolve() for key in given})


def recipe_names() -> list[str]:
    """The recipes that the project carries."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def family_names() -> list[str]:
    """The model families that the project knows."""
    return sorted(path.stem for path in FAMILIES.glob("[!_]*.py"))

"""A recipe → the Modelfile, the same fields as the body of Ollama's `POST /api/create`, and what Ollama must count.

Ollama's HTTP API takes no Modelfile text, and its Modelfile parser drops characters such as U+3000 that the API
keeps. So the fields are the truth, the Modelfile is for people with the `ollama` command. The token counts are taken
here, where the tokenizer is, so that a model can be registered where there is neither that nor llama.cpp.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jinja2 import Environment, StrictUndefined

from poem.game import Game
from poem.model_keys import ADAPTER_FILE, write_note
from poem_build.data.chats import read_chats
from poem_build.engine.llama import Llama
from poem_build.errors import RecipeError
from poem_build.export import parity
from poem_build.export.gguf import keys_of
from poem_build.models import family, licence
from poem_build.models.context import check_context
from poem_build.models.family import MODELFILES
from poem_build.models.files import CREATE, SERVED, TOKEN_COUNTS
from poem_build.models.origin import Longest, read_origin, write_origin
from poem_build.models.quotable import unquotable
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Job, Stage, part, sections

MODELFILE = "Modelfile"


@dataclass(frozen=True)
class Fields:
    """What Ollama is given besides the weights; `parameters` keeps Ollama's own names."""

    template: str
    system: str
    license: str
    parameters: dict[str, Any]


class ModelfileReport(Report):
    """How many texts' tokens Ollama will have to count as llama.cpp does."""

    texts: int


def run(job: Job) -> ModelfileReport:
    """Render both, and count tokens."""
    recipe, count = job.recipe, job.recipe.gate.token_parity_texts
    origin = write_origin(job.folder, read_origin(job.path("gguf")))
    path, talk = job.path("gguf", SERVED), family.family(recipe.base.family)
    prompt = talk.prompt(read_chats(job.path("dataset", "test.jsonl"))[0])
    tokens = len(Llama(path, vocab_only=True).tokenize(prompt))
    check_context(recipe, origin.longest or Longest(example=tokens, prompt=tokens))
    wanted = fields(recipe, job.game, licence.texts_in(job.path("merged")))
    if adapter := job.path("gguf", ADAPTER_FILE).is_file():
        wanted = replace(wanted, template=write_note(wanted.template, keys_of(origin)))
    (job.folder / MODELFILE).write_text(render_modelfile(recipe, wanted, adapter=adapter), "utf-8")
    (job.folder / CREATE).write_text(json.dumps(asdict(wanted), ensure_ascii=False, indent=1) + "\n", "utf-8")
    counts = {
        "prompt": tokens,
        "texts": parity.token_counts(path, talk, job.game, count),
    }
    (job.folder / TOKEN_COUNTS).write_text(json.dumps(counts, ensure_ascii=False) + "\n", "utf-8")
    return ModelfileReport(texts=count)


STAGE = Stage(
    name="modelfile",
    summary="Render the Modelfile and the body of Ollama's create request.",
    makes="modelfile",
    work=run,
    report=ModelfileReport,
    settings=lambda recipe: (
        recipe.model_dump(mode="json", include={"name", "summary", "licence", "notice"})
        | sections("serve")(recipe)
        | part("gate", "token_parity_texts")(recipe)
    ),
    inputs={"gguf": ALL, "merged": ALL, "dataset": ("test.jsonl",)},
    reads_game=True,
    outside=lambda recipe: {
        **family.family(recipe.base.family).templates,
        "Modelfile's template": MODELFILES / "Modelfile.jinja",
    },
    modules=family.modules,
    packages=("llama-cpp-python", "transformers"),
)


def fields(recipe: Recipe, game: Game, terms: Mapping[str, str]) -> Fields:
    """The recipe's fields; a template names `.Tools` without effect, so that every Ollama prefers it to the GGUF's.

    The licence is its name in the first line, the notice, and the texts of the terms: they go where the model goes.
    """
    talk = family.family(recipe.base.family)
    return Fields(
        template=talk.ollama_template,
        system=game.instructions,
        license="\n\n".join(filter(None, (recipe.licence, recipe.notice, *map(_plain, terms.values())))),
        parameters=recipe.serve.model_dump() | {"stop": list(talk.stop)},
    )


def _plain(text: str) -> str:
    """A text of terms as a Modelfile can quote it: its words as they are, tabs and page breaks as blanks."""
    kept = "".join(c if c.isprintable() or c == "\n" else " " for c in text.replace("\r\n", "\n").expandtabs())
    return kept.replace('"""', "''\"").rstrip('" \n')


def render_modelfile(recipe: Recipe, wanted: Fields, *, adapter: bool = False) -> str:
    """The Modelfile's text; raises `RecipeError` for a value that a Modelfile cannot carry."""
    for name in ("template", "system", "license"):
        if reason := unquotable(getattr(wanted, name)):
            raise RecipeError(f"recipe {recipe.name}: {name}: {reason}")
    parameters = [(k, v) for k, vs in wanted.parameters.items() for v in (vs if isinstance(vs, list) else [vs])]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string((MODELFILES / "Modelfile.jinja").read_text("utf-8")).render(
        name=recipe.name,
        summary=recipe.summary,
        gguf=f"./gguf/{SERVED}",
        adapter=f"./gguf/{ADAPTER_FILE}" if adapter else "",
        parameters=parameters,
        template=wanted.template,
        system=wanted.system,
        licence=wanted.license,
    )

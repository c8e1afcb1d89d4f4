"""A recipe → the Modelfile, the same fields as the body of Ollama's `POST /api/create`, and what Ollama must count.

Ollama's HTTP API takes no Modelfile text, and its Modelfile parser drops characters such as U+3000 that the API
keeps. So the fields are the truth, the Modelfile is for people with the `ollama` command. The token counts are taken
here, where the tokenizer is, so that a model can be registered where there is neither that nor llama.cpp.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from poem.prompt import prompt_version, system_text
from poem_build.data.dataset import read_examples
from poem_build.engine.llama import Llama
from poem_build.errors import RecipeError
from poem_build.export import parity
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.models.chat import trained_prompt
from poem_build.recipe.schema import MODELFILES, Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact
from poem_build.train.lora import check_context

FIELDS_FILE = "create.json"
COUNTS_FILE = "token_counts.json"
"""`{"prompt": tokens of the first held-out hand's prompt, "texts": [[text, tokens], …]}`, as llama.cpp counts."""


@dataclass(frozen=True)
class Fields:
    """What Ollama is given besides the weights; `parameters` keeps Ollama's own names."""

    template: str
    system: str
    license: str
    parameters: dict[str, Any]


def run(recipe: Recipe, out: Path) -> Artifact:
    """Render both; the Modelfile stands beside the stages' folders, since it names the GGUF relative to itself."""
    gguf, adapter, merged, dataset = (artifact.load(out, stage) for stage in ("gguf", "adapter", "merged", "dataset"))
    check_context(recipe, adapter.figures["longest"])
    wanted = fields(recipe)
    text = render_modelfile(recipe, wanted)
    count = recipe.gate.token_parity_texts

    def work(folder: Path) -> dict[str, Any]:
        (folder / FIELDS_FILE).write_text(json.dumps(asdict(wanted), ensure_ascii=False, indent=1) + "\n", "utf-8")
        path = gguf.path / GGUF_FILE
        prompt = trained_prompt(recipe.base.family, read_examples(dataset.path / "test.jsonl")[0])
        counts = {
            "prompt": len(Llama(path, vocab_only=True).tokenize(prompt)),
            "texts": parity.token_counts(merged.path, path, recipe.base.family, count),
        }
        (folder / COUNTS_FILE).write_text(json.dumps(counts, ensure_ascii=False) + "\n", "utf-8")
        return {"prompt_version": prompt_version()}

    settings = asdict(wanted) | {"modelfile": text, "texts": count}
    inputs = {made.stage: made.digest for made in (gguf, merged, dataset)}
    made = artifact.make(out, "modelfile", work, settings=settings, inputs=inputs)
    artifact.write_text(out / "Modelfile", text)
    return made


def fields(recipe: Recipe) -> Fields:
    """The recipe's fields; a template names `.Tools` without effect, so that every Ollama prefers it to the GGUF's."""
    family = recipe.base.family
    return Fields(
        template=(MODELFILES / f"{family}.ollama.gotmpl").read_text("utf-8"),
        system=system_text(),
        license="\n\n".join(filter(None, (recipe.licence, recipe.notice))),
        parameters=recipe.serve.model_dump() | {"stop": recipe.base.stop},
    )


def render_modelfile(recipe: Recipe, wanted: Fields) -> str:
    """The Modelfile's text; raises `RecipeError` for a value that a Modelfile cannot carry."""
    for name in ("template", "system", "license"):
        value = getattr(wanted, name)
        if '"""' in value or value.endswith('"'):
            raise RecipeError(f"recipe {recipe.name}: {name}: a Modelfile cannot quote it; take the quotes out")
        if lost := next((c for c in value if not c.isprintable() and c != "\n"), None):
            raise RecipeError(f"recipe {recipe.name}: {name}: a Modelfile loses {lost!r}; replace it")
    parameters = [(k, v) for k, vs in wanted.parameters.items() for v in (vs if isinstance(vs, list) else [vs])]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string((MODELFILES / "Modelfile.jinja").read_text("utf-8")).render(
        name=recipe.name,
        summary=recipe.summary,
        gguf=f"./gguf/{GGUF_FILE}",
        parameters=parameters,
        template=wanted.template,
        system=wanted.system,
        licence=wanted.license,
    )

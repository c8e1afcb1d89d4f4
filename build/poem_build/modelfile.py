"""A recipe → the Modelfile, and the same fields as the body of Ollama's `POST /api/create`.

Ollama's HTTP API takes no Modelfile text, and its Modelfile parser drops characters such as U+3000 that the API
keeps. So the fields are the truth, the Modelfile is for people with the `ollama` command.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from poem.prompt import prompt_version, system_text
from poem_build import artifact
from poem_build.artifact import Artifact
from poem_build.errors import RecipeError
from poem_build.quantize import FILE as GGUF_FILE
from poem_build.recipe import MODELFILES, Recipe
from poem_build.train import check_context

FIELDS_FILE = "create.json"


@dataclass(frozen=True)
class Fields:
    """What Ollama is given besides the weights; `parameters` keeps Ollama's own names."""

    template: str
    system: str
    license: str
    parameters: dict[str, Any]


def run(recipe: Recipe, out: Path) -> Artifact:
    """Render both; the Modelfile stands beside the stages' folders, since it names the GGUF relative to itself."""
    gguf, adapter = artifact.load(out, "gguf"), artifact.load(out, "adapter")
    check_context(recipe, adapter.figures["longest"])
    wanted = fields(recipe)
    text = render_modelfile(recipe, wanted)

    def work(folder: Path) -> dict[str, Any]:
        (folder / FIELDS_FILE).write_text(json.dumps(asdict(wanted), ensure_ascii=False, indent=1) + "\n", "utf-8")
        return {"prompt_version": prompt_version()}

    made = artifact.make(
        out, "modelfile", work, settings=asdict(wanted) | {"modelfile": text}, inputs={"gguf": gguf.digest}
    )
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

"""What a build knows of its model → the card that the hub shows: a head for machines, and what a person asks first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from poem.model_keys import ADAPTER_FILE, Verdict
from poem_build.evaluation.report import Figure
from poem_build.judge.fidelity import Nearness
from poem_build.models import licence
from poem_build.models.origin import Origin
from poem_build.models.standing import Standing
from poem_build.recipe.schema import Recipe

_TEMPLATE = Path(__file__).parent / "templates" / "card.md"
_LICENCES = {name: word for word, name in licence.HUB.items()}
"""The hub's words for them; it calls any other `other`."""
_VERDICTS: dict[Verdict, str] = {
    "": "`eval` has not looked at this build.",
    "passed": "It passed the gates of its recipe.",
    "refused": "Its gates refuse it.",
    "below-composer": "It passed its gates, and writes worse than the composer, which needs no model.",
}


@dataclass(frozen=True)
class About:
    """What a card tells."""

    recipe: Recipe
    origin: Origin
    standing: Standing
    files: Mapping[str, str]
    """SHA-256 by name, of the GGUF files."""
    licence_file: str
    figures: Sequence[Figure] = ()
    """Of the model, with what they were counted of."""
    near: Nearness | None = None


def render(about: About) -> str:
    """The card as Markdown."""
    recipe, origin, forced = about.recipe, about.origin, about.standing.forced
    told = _VERDICTS[about.standing.verdict] + "".join(f" Let through all the same: {one}." for one in forced)
    figures = [
        {
            "what": one.what,
            "value": _value(one.value, one.unit),
            "interval": f"{_value(one.low, one.unit)} to {_value(one.high, one.unit)}",
            "count": one.count,
        }
        for one in about.figures
    ]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_TEMPLATE.read_text("utf-8")).render(
        head=_head(about),
        name=f"mansion-poem {recipe.name}" + (f" for {origin.game}" if origin.game else ""),
        summary=recipe.summary,
        base=recipe.base.name,
        licence=f"{recipe.licence}, in `{about.licence_file}`",
        game=origin.game or "the built-in one",
        origin=origin,
        files=about.files,
        adapter=ADAPTER_FILE if ADAPTER_FILE in about.files else "",
        standing=told,
        figures=figures,
        near=about.near,
        notice=recipe.notice,
    )


def _head(about: About) -> str:
    from huggingface_hub import ModelCardData

    recipe = about.recipe
    known = _LICENCES.get(recipe.licence)
    terms: dict[str, Any] = {"license": known or "other"}
    if not known:
        terms |= {"license_name": recipe.licence, "license_link": about.licence_file}
    relation = "adapter" if ADAPTER_FILE in about.files else "finetune" if recipe.train else "quantized"
    base: dict[str, Any] = {"base_model": recipe.base.hub, "base_model_relation": relation} if recipe.base.hub else {}
    data = ModelCardData(
        language="ja",
        pipeline_tag="text-generation",
        tags=["gguf", "mansion-poem", "poetry", *(["lora"] if relation == "adapter" else [])],
        **terms,
        **base,
    )
    return data.to_yaml()


def _value(number: float, unit: str) -> str:
    match unit:
        case "share":
            return f"{number:.1%}"
        case "":
            return f"{number:,.3g}"
        case _:
            return f"{number:,.3g} {unit}"

"""A finished model → what it does on held-out hands, and whether the adapter is what does it.

Three questions: how many hands does it answer within all rules, with the shape constrained and without; how many
does the base alone; and does the right poem become less likely when the prompt shows another hand's cards.
"""

import tempfile
from pathlib import Path
from random import Random
from typing import Any

from poem.deck import builtin_deck
from poem_build.data.dataset import Example, hands, read_examples
from poem_build.errors import GateError
from poem_build.export.convert import convert_folder
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.judge import gates
from poem_build.judge.interval import mean_interval
from poem_build.judge.verify import answers, judge
from poem_build.models.load import load_model, load_tokenizer
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact
from poem_build.train.batches import answer_losses, tokenize
from poem_build.train.lora import base_digest


def run(recipe: Recipe, out: Path) -> Artifact:
    """Play `gate.eval_hands` held-out hands; refuses a model below the recipe's gate, or a base above its own.

    The model of a training that was cut short is only reported on.
    """
    gguf, merged, dataset = (artifact.load(out, stage) for stage in ("gguf", "merged", "dataset"))
    gate = recipe.gate

    def work(_: Path) -> dict[str, Any]:
        examples = read_examples(dataset.path / "test.jsonl")[: gate.eval_hands]
        path = gguf.path / GGUF_FILE
        constrained = judge(answers(recipe, path, examples, constrained=True), examples)
        free = judge(answers(recipe, path, examples, constrained=False), examples)
        with tempfile.TemporaryDirectory() as work:
            base = Path(work) / "base.gguf"
            convert_folder(recipe.base.path, base, recipe, "none")
            base_alone = judge(answers(recipe, base, examples[:50], constrained=False), examples[:50])
        told = {
            "constrained": constrained,
            "unconstrained": free,
            "base_unconstrained": base_alone,
            "other_hands_cards": {
                "model": _swap(recipe, merged.path, examples),
                "base": _swap(recipe, recipe.base.path, examples),
            },
        }
        if not gates.cut_short(out):
            _refuse(recipe, told)
        return told

    settings = gate.model_dump() | recipe.serve.model_dump() | artifact.versions("llama-cpp-python")
    inputs = {"gguf": gguf.digest, "dataset": dataset.digest, "base": base_digest(recipe)}
    return artifact.make(out, "eval", work, settings=settings, inputs=inputs | {"game": artifact.game_digest()})


def _refuse(recipe: Recipe, told: dict[str, Any]) -> None:
    gate = recipe.gate

    def share(name: str) -> float:
        return float(told[name]["passed"]) / float(told[name]["hands"])

    if share("constrained") < gate.eval_pass:
        raise GateError(f"gate.eval_pass: {share('constrained'):.1%} keep all rules, {gate.eval_pass:.0%} must: {told}")
    if share("base_unconstrained") > gate.base_pass_at_most:
        raise GateError(f"gate.base_pass_at_most: the base alone passes {share('base_unconstrained'):.1%}: {told}")
    swap = told["other_hands_cards"]["model"]
    if swap["mean"] <= swap["interval"]:
        raise GateError(f"the model does not look at the cards; train longer: {told}")


def _swap(recipe: Recipe, folder: Path, examples: list[Example]) -> dict[str, float]:
    """By how many nats a right poem becomes less likely under another hand's cards: mean and half 95 % interval."""
    import torch

    model, tokenizer = load_model(folder, "float32").eval(), load_tokenizer(folder)
    strangers = hands(builtin_deck(), "test", Random("other hands"))
    differences = []
    with torch.inference_mode():
        for example in examples:
            other = Example(next(strangers), example.candidates, example.answer)
            pair = [tokenize(tokenizer, recipe.base.family, e) for e in (example, other)]
            right, wrong = answer_losses(model, pair)[0].sum(dim=1).tolist()
            differences.append(wrong - right)
    lower = sum(d > 0 for d in differences)
    return mean_interval(differences) | {"share_lower": round(lower / len(differences), 3)}

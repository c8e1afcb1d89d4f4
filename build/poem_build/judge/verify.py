"""A quantized model → the smoke test: it loads, it answers in the right shape, it ends by itself."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poem.hand import Answer
from poem.rules import check
from poem.shape import answer_grammar, decode
from poem_build.data.dataset import Example, read_examples
from poem_build.engine.llama import play
from poem_build.errors import GateError
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.judge import gates
from poem_build.models.chat import trained_prompt
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact


def run(recipe: Recipe, out: Path) -> Artifact:
    """Play a few held-out hands, the shape constrained; refuses a whole training if too few keep the rules."""
    gguf, dataset = artifact.load(out, "gguf"), artifact.load(out, "dataset")
    gate = recipe.gate

    def work(_: Path) -> dict[str, Any]:
        examples = read_examples(dataset.path / "test.jsonl")[: gate.smoke_hands]
        texts = answers(recipe, gguf.path / GGUF_FILE, examples, constrained=True)
        told = judge(texts, examples)
        too_few = told["malformed"] or told["passed"] < gate.smoke_pass * len(examples)
        if too_few and not gates.cut_short(out):
            raise GateError(
                f"{gguf.path / GGUF_FILE}: gate.smoke_pass: {told}; train longer, or lower gate.smoke_pass knowingly"
            )
        return told

    settings = recipe.serve.model_dump() | {"hands": gate.smoke_hands, "pass": gate.smoke_pass}
    settings |= artifact.versions("llama-cpp-python")
    return artifact.make(
        out,
        "verify",
        work,
        settings=settings,
        inputs={"gguf": gguf.digest, "dataset": dataset.digest, "game": artifact.game_digest()},
    )


def answers(
    recipe: Recipe, gguf: Path, examples: Sequence[Example], *, constrained: bool, seed: int = 0
) -> list[str | None]:
    """The model's text for each example's hand; None where it did not end."""
    prompts = [trained_prompt(recipe.base.family, e) for e in examples]
    grammars = [answer_grammar(e.candidates) if constrained else None for e in examples]
    return play(gguf, prompts, grammars, recipe.serve, seed)


def read_answer(text: str | None, example: Example) -> tuple[Answer, str]:
    """The answer in a model's text, for a reader, and which rule it breaks; what is no answer stands as it came."""
    try:
        answer = decode(text or "")
    except ValueError:
        return Answer("(形にならなかった答え)", text or "…"), ""
    return answer, broken_rule(answer, example)


def broken_rule(answer: Answer, example: Example) -> str:
    """The first rule that the answer breaks, in Japanese; empty if it keeps all."""
    found = check(answer, example.hand, example.candidates)
    return f"規則: {found[0]}" if found else ""


def judge(texts: Sequence[str | None], examples: Sequence[Example]) -> dict[str, Any]:
    """How many texts are answers, how many of these keep every rule, and which rules the others break."""
    broke: Counter[str] = Counter()
    malformed = passed = 0
    for text, example in zip(texts, examples, strict=True):
        try:
            answer = decode(text or "")
        except ValueError:
            malformed += 1
            continue
        rules = {violation.rule for violation in check(answer, example.hand, example.candidates)}
        broke.update(rules)
        passed += not rules
    return {"hands": len(texts), "passed": passed, "malformed": malformed, "broken": dict(broke.most_common())}

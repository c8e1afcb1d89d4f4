"""Held-out hands → a page of poems, the composer's and the model's, for anyone to read and judge."""

from itertools import islice
from pathlib import Path
from random import Random

from poem.composer import compose
from poem.deck import builtin_deck
from poem.hand import Answer, Hand, draw_candidates
from poem_build.data.dataset import hands, read_examples
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.judge.verify import answers, read_answer
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact

_COMPOSED = 50
_MODEL = 20


def write(recipe: Recipe, out: Path, target: Path) -> dict[str, int]:
    """Write 50 composed poems and 20 of the recipe's model, nothing picked, nothing mended."""
    deck = builtin_deck()
    rng = Random("samples")
    lines = [
        "# 詩の見本",
        "",
        f"`poem-build samples --recipe {recipe.name}` がつくる頁。配られた手をそのまま載せ、選ばず、直さない。",
        "",
        f"## composer({_COMPOSED}篇)",
    ]
    for n, hand in enumerate(islice(hands(deck, "test", rng), _COMPOSED), 1):
        answer = compose(hand, draw_candidates(deck, rng), n).answer
        lines += _poem(n, hand, answer, "")
    examples = read_examples(artifact.load(out, "dataset").path / "test.jsonl")[:_MODEL]
    texts = answers(recipe, artifact.load(out, "gguf").path / GGUF_FILE, examples, constrained=True)
    lines += ["", f"## {recipe.name}({_MODEL}篇、形だけを縛った答え)"]
    for n, (text, example) in enumerate(zip(texts, examples, strict=True), 1):
        lines += _poem(n, example.hand, *read_answer(text, example))
    target.parent.mkdir(parents=True, exist_ok=True)
    artifact.write_text(target, "\n".join(lines) + "\n")
    return {"composed": _COMPOSED, "model": len(examples)}


def _poem(n: int, hand: Hand, answer: Answer, note: str) -> list[str]:
    cards = " / ".join(f"{pair.card.condition_text} → {pair.wording.poem_text}" for pair in hand.pairs)
    body = [f"> {line}  " for line in answer.poem.split("\n")]
    return ["", f"### {n}. {answer.title}", "", cards, "", *body, *(["", note] if note else [])]

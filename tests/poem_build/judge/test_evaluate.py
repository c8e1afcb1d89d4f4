"""Whether a model looks at the cards: the difference that another hand's make, and its sign."""

from pathlib import Path
from random import Random

import pytest
import torch

from poem.game import builtin_game
from poem_build.data.examples import Example, read_examples
from poem_build.data.hands import hands
from poem_build.judge import evaluate
from poem_build.models.family import family
from poem_build.models.load import load_model, load_tokenizer
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact
from poem_build.store.stage import Job


def test_a_poem_that_is_likelier_under_its_own_cards_is_above_nothing(
    chain: dict[str, Artifact], out: Path, recipe: Recipe
) -> None:
    """Against the plain way, all logits at once."""
    game, talk = builtin_game(), family(recipe.base.family)
    examples = read_examples(out / "dataset" / "test.jsonl", game)[:3]
    model, tokenizer = load_model(out / "merged", "float32").eval(), load_tokenizer(out / "merged")

    def log_probability(example: Example) -> float:
        tokens = talk.tokens(tokenizer, example.messages(game))
        ids = torch.tensor([tokens.prompt + tokens.answer])
        with torch.inference_mode():
            log_p = model(input_ids=ids).logits[0].log_softmax(-1)
        return float(sum(log_p[n - 1, ids[0, n]] for n in range(len(tokens.prompt), ids.shape[1])))

    others = hands(game.deck, "test", Random("other hands"))
    gains = [
        log_probability(one) - log_probability(Example(next(others), one.candidates, one.answer)) for one in examples
    ]
    found = evaluate._swap(Job(recipe, game, out, out, chain), "merged", examples)
    assert found.difference.mean == pytest.approx(sum(gains) / 3, abs=2e-3)
    assert found.difference.mean != 0
    assert found.share_lower == round(sum(gain > 0 for gain in gains) / 3, 3)

"""Whether a model looks at the cards: the difference that another hand's make, and its sign."""

from pathlib import Path
from random import Random

import pytest
import torch

from poem.game import builtin_game
from poem_build.data.examples import Example, read_examples
from poem_build.data.hands import hands
from poem_build.evaluation import likelihood
from poem_build.models.family import family
from poem_build.models.load import load_model, load_tokenizer
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact


def test_a_poem_that_is_likelier_under_its_own_cards_is_above_nothing(
    chain: dict[str, Artifact], out: Path, recipe: Recipe
) -> None:
    """Against the plain way, all logits at once."""
    game, talk = builtin_game(), family(recipe.base.family)
    examples = read_examples(out / "dataset" / "test.jsonl", game)[:3]
    model, tokenizer = load_model(out / "merged", "float32").eval(), load_tokenizer(out / "merged")

    def log_probability(example: Example) -> float:
        tokens = talk.tokens(tokenizer, example.chats(game)[0])
        ids = torch.tensor([tokens.prompt + tokens.answer])
        with torch.inference_mode():
            log_p = model(input_ids=ids).logits[0].log_softmax(-1)
        return float(sum(log_p[n - 1, ids[0, n]] for n in range(len(tokens.prompt), ids.shape[1])))

    others = hands(game.deck, "test", Random("other hands"))
    gains = [
        log_probability(one) - log_probability(Example(next(others), one.candidates, one.answer)) for one in examples
    ]
    by_hand = [examples[0]]
    found = likelihood.ask(out / "merged", talk, game, examples, by_hand)
    assert found.swapped == pytest.approx(gains, abs=2e-3)
    assert any(gains)
    assert found.by_hand == pytest.approx([-log_probability(examples[0])], abs=2e-3)
    assert found.by_hand_tokens == [len(talk.tokens(tokenizer, examples[0].chats(game)[0]).answer)]
    assert len(found.plain) == len(likelihood.PLAIN.read_text("utf-8").splitlines()) == 20
    first = tokenizer.encode(likelihood.PLAIN.read_text("utf-8").splitlines()[0], add_special_tokens=True)
    assert found.plain_tokens[0] == len(first) - 1

"""A recipe and a game → how many tokens an example takes, before there is a tokenizer."""

from dataclasses import dataclass
from random import Random

from poem.game import Game
from poem.hand import deal, draw_candidates
from poem.prompt import render_prompt
from poem_build.recipe.schema import Recipe
from poem_build.teacher.money import TOKENS_A_CHARACTER

_ANSWER = 260
"""Characters of a poem with its title, as JSON."""
_TURNS = 30
"""Tokens of markers and roles."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of an example, and of its answer; examples of the data set."""

    example: int
    answer: int
    examples: int


def lengths_of(recipe: Recipe, game: Game) -> Lengths:
    """Tokens of a hand's prompt and answer by their characters, and how many examples there will be."""
    rng = Random("a sample")
    prompt = render_prompt(game.instructions, deal(game.deck, rng), draw_candidates(game.deck, rng))
    asked = sum(len(message["content"]) for message in prompt.messages())
    answer = round(_ANSWER * TOKENS_A_CHARACTER)
    handwritten = recipe.dataset.handwritten * sum(not poem.held_out for poem in game.poems)
    return Lengths(round(asked * TOKENS_A_CHARACTER) + answer + _TURNS, answer, recipe.dataset.train + handwritten)

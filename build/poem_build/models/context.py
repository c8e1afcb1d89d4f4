"""The tokens of the longest example → whether the context that is served has room for them.

And those of the longest prompt that asks for an outline's poem → whether it is as short as it is meant to be.
"""

from collections.abc import Sequence

from poem.outline import POEM_PROMPT_TOKENS
from poem_build.errors import RecipeError
from poem_build.models.origin import Longest
from poem_build.models.tokens import Tokens
from poem_build.recipe.schema import Recipe


def check_context(recipe: Recipe, longest: Longest) -> None:
    """Raise `RecipeError` if the served context has no room for an example, or for a prompt and any answer to it."""
    serve = recipe.serve
    needed = max(longest.example, longest.prompt + serve.num_predict)
    if needed > serve.num_ctx:
        raise RecipeError(
            f"recipe {recipe.name}: serve.num_ctx: examples have up to {longest.example} tokens, prompts "
            f"{longest.prompt} before serve.num_predict, {serve.num_predict}; give at least {needed}"
        )


def check_poem_prompts(recipe: Recipe, examples: Sequence[Tokens]) -> None:
    """Raise `RecipeError` if a poem in two stages is asked for with a longer prompt than it may have.

    `examples` are outlines and their poems in turn; of a recipe in one stage, whatever they are.
    """
    if recipe.dataset.stages == 1:
        return
    longest = max(len(poem.prompt) for poem in examples[1::2])
    if longest > POEM_PROMPT_TOKENS:
        raise RecipeError(
            f"recipe {recipe.name}: dataset.stages: an outline's prompt has {longest} tokens of this base's, "
            f"{POEM_PROMPT_TOKENS} are allowed; shorten the game's system.txt if it has one, give a base that "
            "reads Japanese in fewer, or stages = 1"
        )

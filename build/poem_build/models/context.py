"""The tokens of the longest example → whether the context that is served has room for them."""

from poem_build.errors import RecipeError
from poem_build.models.origin import Longest
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

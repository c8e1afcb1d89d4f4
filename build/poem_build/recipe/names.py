"""A recipe and a game → the names of what is made of them. The built-in game is left out of every name."""

from pathlib import Path

LATEST = "mansion-poem:latest"
"""Ollama's name of the model to serve."""


def tag(recipe: str, game: str) -> str:
    """`<recipe>[-<game>]`: the folder of the artifacts, and what stands behind the colon of a model or an image."""
    return f"{recipe}-{game}" if game else recipe


def ollama_model(recipe: str, game: str) -> str:
    """The name under which Ollama serves it."""
    return f"mansion-poem:{tag(recipe, game)}"


def artifacts_folder(recipe: str, game: str) -> Path:
    """Where its artifacts lie unless the command says otherwise."""
    return Path("artifacts") / tag(recipe, game)

"""A method's name → its module, which trains."""

import importlib

from poem_build.recipe.training import Method
from poem_build.train.protocol import Trainer


def module(method: Method) -> str:
    """The name of the module."""
    return f"poem_build.train.{method}"


def trainer(method: Method) -> Trainer:
    """What trains so."""
    found: Trainer = importlib.import_module(module(method))
    return found

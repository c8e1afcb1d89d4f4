"""All weights of the base → the same after training, in the base's own number format.

They are trained in float32: in 16 bits most steps of a rate of 5e-5 are smaller than what the format can hold.
"""

from collections.abc import Sequence

from poem_build.models.load import load_model, skeleton
from poem_build.models.tokens import Tokens
from poem_build.train.answers import train_on_answers
from poem_build.train.protocol import Setup, Trained


def train(setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens]) -> Trained:
    """Train the weights and leave a model's folder in the target."""
    model = load_model(setup.base, "float32", setup.place)
    return train_on_answers(model, setup, train, valid, skeleton(setup.base).dtype)

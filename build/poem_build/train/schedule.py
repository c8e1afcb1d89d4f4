"""A step's number → the share of the learning rate that it is taken with."""

import math

from poem_build.recipe.schema import Train


def rate(spec: Train, step: int, steps: int) -> float:
    """Linear over the warm-up, and a cosine down to nothing; the lower of the two where they meet."""
    warmup = max(1, round(steps * spec.warmup))
    return min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / steps))

"""A step's number → the share of the learning rate that it is taken with."""

import math

from poem_build.recipe.training import Train


def rate(spec: Train, step: int, steps: int) -> float:
    """Linear over the warm-up, then as the schedule has it; the lower of the two where they meet."""
    warmup = max(1, round(steps * spec.warmup))
    falls = {"cosine": 0.5 + 0.5 * math.cos(math.pi * step / steps), "linear": 1 - step / steps, "constant": 1.0}
    return min((step + 1) / warmup, falls[spec.schedule])

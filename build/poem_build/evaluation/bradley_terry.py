"""Wins of every writer over every other → one score each.

The model of Bradley & Terry (1952, "Rank Analysis of Incomplete Block Designs"): i beats j with probability
p_i / (p_i + p_j). It is fitted by the iteration of Hunter (2004, "MM Algorithms for Generalized Bradley-Terry Models",
Ann. Statist. 32): p_i ← wins of i / Σ_j n_ij / (p_i + p_j). Ties are half a win for each; a tie of every pair is put in
besides, so that a writer that never loses has a score too.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_ROUNDS = 200
_TIE = 0.5


def scores(wins: "np.ndarray") -> "np.ndarray":
    """Log strengths, mean 0; `wins` has (…, writers, writers): how often the row's writer beat the column's."""
    import numpy as np

    count = wins.shape[-1]
    met = np.asarray(wins) + _TIE * (1 - np.eye(count))
    games = met + met.swapaxes(-1, -2)
    won = met.sum(axis=-1)
    strength = np.ones(won.shape)
    for _ in range(_ROUNDS):
        together = strength[..., :, None] + strength[..., None, :]
        strength = won / (games / together).sum(axis=-1)
        strength /= np.exp(np.log(strength).mean(axis=-1, keepdims=True))
    return np.log(strength)

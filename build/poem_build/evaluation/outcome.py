"""Whether a model goes on stage, and each reason for it: the verdict of a report."""

from poem_build.judge.figures import Figures
from poem_build.store.red_line import Sense


class Reason(Figures):
    """One red line of the recipe, or one thing that a reader has to know; more hands may turn what is not sure."""

    gate: str
    """The key of `[gate]`; `regression`, `below-composer`, `judge` for what no number of the recipe stands behind."""
    what: str
    seen: str
    asked: str
    """Both as an English line has them."""
    sense: Sense | None = None
    bound: float | None = None
    """What is asked for as a number, where it is one."""
    measured: bool = True
    holds: bool
    refuses: bool
    """Whether it turns the verdict; what is only told does not, as a gate that a training cut short cannot pass."""
    remedy: str = ""
    sure: bool = True


class Outcome(Figures):
    """Whether the model goes on stage."""

    passed: bool
    below_composer: bool
    """Its poems are worse than the composer's beyond the interval: the service's `POEM_WRITER=auto` asks no model."""
    cut_short: bool
    """The training was cut short: gates that only a whole one passes are told and not asked."""
    reasons: list[Reason]
    """Those that refuse come first, then those that do not hold."""

"""A model or a data set that is to leave the house → whether its licences and its gates let it."""

from collections.abc import Sequence

from poem_build.errors import PublishError
from poem_build.plan.licence import Verdict


def refuse_unshippable(found: Sequence[Verdict], *, force: bool) -> None:
    """Raises `PublishError` for terms that forbid passing it on, and, unless forced, for those that do not say yes."""
    for one in found:
        if one.ship.startswith("no"):
            raise PublishError(f"{one.of}: {one.terms}: may not be passed on: {one.ship}")
        if not one.ship.startswith("yes") and not force:
            raise PublishError(
                f"{one.of}: {one.terms}: may it be passed on? {one.ship}; read them, and give --force if they let you"
            )


def refuse_name(found: Sequence[Verdict], name: str) -> None:
    """Raises `PublishError` for a model's name that its licence does not allow."""
    short = name.rpartition("/")[2]
    for one in found:
        if not short.lower().startswith(one.prefix.lower()):
            raise PublishError(f"{name}: {one.terms} asks for a name that begins with {one.prefix!r}; give another")

"""A table of a recipe → a checked value; what all of them have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Whole = Annotated[int, Field(strict=True)]
"""Neither `true` nor "8"."""
Positive = Annotated[Whole, Field(ge=1)]
Count = Annotated[Whole, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of a recipe: keys that it does not have are refused, and numbers without an end."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

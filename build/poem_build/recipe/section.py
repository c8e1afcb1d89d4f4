"""A table of a recipe → a checked value; what all of them have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of a recipe: keys that it does not have are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

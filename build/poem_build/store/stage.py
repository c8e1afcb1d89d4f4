"""What one step of the build is: its inputs by role, the sections of the recipe that it reads, and its work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poem.game import Game
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact, Report


@dataclass(frozen=True)
class Job:
    """One run of a stage: what it is told, what it reads, and where it writes."""

    recipe: Recipe
    game: Game
    folder: Path
    """Empty; what is in it when the work ends is the artifact."""
    room: Path
    """Outlives a failure or a kill, and is found again by the same work alone; not there until the work makes it."""
    inputs: Mapping[str, Artifact]
    """What earlier stages left, by their names."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the command line says besides the recipe, part of the key."""


@dataclass(frozen=True)
class Stage:
    """A step of the build. It knows no other stage but by name; the pipeline knows the order."""

    name: str
    """Of the command."""
    summary: str
    """One sentence of help."""
    folder: str
    """Where its artifact stands in the artifacts' folder."""
    work: Callable[[Job], Report]
    report: type[Report]
    sections: tuple[str, ...]
    """The recipe's sections that it reads, each part of the key as a whole."""
    inputs: tuple[str, ...] = ()
    """Names of the stages whose artifacts it reads."""
    reads_game: bool = False
    """Whether it reads the game itself, beyond what its inputs hold of it."""
    packages: tuple[str, ...] = ()
    """Libraries whose version may change the result."""
    outside: Callable[[Recipe], Mapping[str, Path]] = field(default=lambda _: {})
    """Files from outside that it reads, by role."""
    given: Callable[[Recipe], Path | None] = field(default=lambda _: None)
    """A folder that stands in for the artifact as it is, where the recipe names one."""

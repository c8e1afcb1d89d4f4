"""What one step of the build is: its inputs by role, the settings that it reads, its work, and what judges that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from poem.game import Game
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact, Report

ALL = ("*",)
"""Every file of an input."""


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
    """What earlier stages left, by role."""

    def path(self, role: str, name: str = "") -> Path:
        """Where an input lies, or a file of it."""
        return self.inputs[role].path / name


@dataclass(frozen=True)
class Finished:
    """A stage's artifact beside what it was made from, for its gate to judge."""

    recipe: Recipe
    artifact: Artifact
    inputs: Mapping[str, Artifact]


def sections(*names: str) -> Callable[[Recipe], dict[str, Any]]:
    """Those sections of a recipe, each as a whole."""
    return lambda recipe: {name: plain(getattr(recipe, name)) for name in names}


def part(section: str, field: str) -> Callable[[Recipe], dict[str, Any]]:
    """The one field of a section whose others speak to other stages."""
    return lambda recipe: {section: {field: getattr(getattr(recipe, section), field)}}


def plain(value: object) -> object:
    """A recipe's value as JSON has it, without what no result depends on."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _nothing(_: Recipe) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Stage:
    """A step of the build. It knows no other stage; the pipeline knows the order."""

    name: str
    """Of the command."""
    summary: str
    """One sentence of help."""
    makes: str
    """What it makes: the folder among the artifacts, and the role in which later stages read it."""
    work: Callable[[Job], Report]
    report: type[Report]
    settings: Callable[[Recipe], Mapping[str, Any]] = _nothing
    """What of the recipe it reads: whole sections, so that nothing is forgotten."""
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The artifacts that it reads by role, and patterns of the files in them that its result follows from."""
    reads_game: bool = False
    """Whether it reads the game itself, beyond what its inputs hold of it."""
    packages: tuple[str, ...] = ()
    """Libraries whose version may change the result."""
    modules: Callable[[Recipe], tuple[str, ...]] = field(default=lambda _: ())
    """Modules of ours that the recipe chooses, and that so no import names."""
    outside: Callable[[Recipe], Mapping[str, Path]] = field(default=lambda _: {})
    """Files and folders from outside that it reads, by role."""
    given: Callable[[Recipe], Path | None] = field(default=lambda _: None)
    """A folder that stands in for the artifact as it is, where the recipe names one."""
    gate: Callable[[Finished], None] = field(default=lambda _: None)
    """Raises `GateError` for a result that is not good enough to go on with; what was measured is kept either way."""

"""What a stage left ⇄ `artifact.json` beside its files, written last: a folder without one is unfinished."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from poem_build.store.digest import digest_of
from poem_build.store.folder import MANIFEST, digest_of_files, write_text


class Report(BaseModel):
    """What a stage found out: the figures that gates and pages need. `version` goes up when their meaning changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: ClassVar[int] = 1


AnyReport = TypeVar("AnyReport", bound=Report)


class Key(BaseModel):
    """All that an artifact's content follows from; two equal keys stand for the same work."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: str
    report: int
    """The version of the stage's report."""
    settings: Mapping[str, Any]
    """Sections of the recipe, by name."""
    inputs: Mapping[str, str]
    """Digests by role: what earlier stages left, and what comes from outside."""
    packages: Mapping[str, str]
    """Versions of the libraries whose results it depends on."""
    code: Mapping[str, str]
    """Digests of our modules that ran, by name."""

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the whole."""
        return digest_of(self.model_dump(mode="json"))[:16]


class Adoption(BaseModel):
    """A result that its owner kept after a change, vouching that it would be the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    at: str
    reason: str
    """Why it would have been made again."""


class Manifest(BaseModel):
    """What stands in `artifact.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[2] = 2
    """Of the manifest itself; the reports in it count for themselves."""
    key: Key
    reads: Mapping[str, tuple[str, ...]]
    """Which files of the inputs their digests are of, by role."""
    files: Mapping[str, str]
    """SHA-256 by path."""
    report: Mapping[str, Any]
    seconds: float
    adopted: tuple[Adoption, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """A stage's finished folder. `reused` if it was there before this command; `reason` says why it was made."""

    stage: str
    path: Path
    files: Mapping[str, str]
    manifest: Manifest | None = None
    """None for a folder that was given and not made here."""
    reused: bool = True
    reason: str = ""

    def digest(self, patterns: Iterable[str] = ("*",)) -> str:
        """The digest of the files that the patterns name."""
        return digest_of_files(self.files, patterns)

    @property
    def seconds(self) -> float:
        """How long it took to make; 0 if it was given."""
        return self.manifest.seconds if self.manifest else 0.0

    def report(self, kind: type[AnyReport]) -> AnyReport:
        """What the stage reported, as a value of that kind."""
        assert self.manifest is not None, f"{self.path} was given, not made"
        return kind.model_validate(self.manifest.report)


def read_manifest(folder: Path) -> tuple[Manifest | None, str]:
    """What the folder says of itself, or None and why it says nothing that can be believed."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except OSError:
        return None, "unfinished" if folder.is_dir() else "not made yet"
    try:
        return Manifest.model_validate_json(text), ""
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        return None, f"{MANIFEST} is of another version or damaged ({where}: {first['msg']})"


def made_from(out: Path, role: str) -> dict[str, Manifest]:
    """What the artifact of that role in `out` says of itself, and those beside it that it was made from, by role.

    What came from elsewhere, or was made anew since, is not among them.
    """
    manifest, _ = read_manifest(out / role)
    if manifest is None:
        return {}
    found = {role: manifest}
    for name, patterns in manifest.reads.items():
        there = made_from(out, name)
        if there and digest_of_files(there[name].files, patterns) == manifest.key.inputs.get(name):
            found |= there
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `artifact.json`, whole or not at all."""
    text = json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=1)
    write_text(folder / MANIFEST, text + "\n")

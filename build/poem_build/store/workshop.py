"""A recipe, a game and a folder → the stages' artifacts, each made once and kept while all that it follows from holds.

Whatever is made anew is said with its reason. A result that took longer than a minute is kept in `.former/` when
another takes its place: going back to the former settings finds it again, and `poem-build gc` removes it.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from poem.game import Game
from poem_build.errors import ArtifactError
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import (
    MANIFEST,
    Adoption,
    Artifact,
    Key,
    Manifest,
    changed_file,
    read_manifest,
    write_manifest,
    write_text,
)
from poem_build.store.code import code_digests
from poem_build.store.digest import Digests
from poem_build.store.stage import Job, Stage

WORTH_KEEPING_S = 60.0
"""A result that took longer is not deleted when another takes its place."""
FORMER = ".former"
_GAME = "game.json"


@dataclass(frozen=True)
class Look:
    """How a stage's artifact stands: its key now, and why it cannot be taken as it is; empty if it can."""

    key: Key | None
    reason: str
    artifact: Artifact | None = None


@dataclass
class Workshop:
    """The stages of one recipe for one game in one folder. Raises `ArtifactError` for another game's folder."""

    recipe: Recipe
    game: Game
    out: Path
    stages: Mapping[str, Stage]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._digests = Digests(self.out / ".digests.json")
        self._refuse_other_game()

    def look(self, name: str) -> Look:
        """How the stage stands, without making anything."""
        stage = self.stages[name]
        if folder := stage.given(self.recipe):
            return self._given(stage, folder)
        inputs: dict[str, str] = {}
        for needed in stage.inputs:
            before = self.look(needed)
            if before.artifact is None:
                return Look(None, f"{needed} has to be made first ({before.reason})")
            inputs[needed] = before.artifact.digest
        key = self._key(stage, inputs)
        target = self.out / stage.folder
        manifest, reason = read_manifest(target)
        if manifest is None:
            return Look(key, reason)
        if reason := _difference(manifest.key, key):
            return Look(key, reason)
        try:
            stage.report.model_validate(manifest.report)
        except ValidationError:
            return Look(key, "its report is of another version")
        if changed := changed_file(target, manifest, self._digests):
            return Look(key, f"{changed} is missing or was changed")
        return Look(key, "", Artifact(name, target, manifest.files, manifest))

    def load(self, name: str) -> Artifact:
        """The stage's artifact as the recipe asks for it now.

        Raises `ArtifactError` naming why it is not to be had and the command that makes it.
        """
        look = self.look(name)
        if look.artifact is None:
            where = self.out / self.stages[name].folder
            raise ArtifactError(f"{where}: {name}: {look.reason}; `poem-build run` makes it")
        return look.artifact

    def make(self, name: str) -> Artifact:
        """The stage's artifact: the one that is there if all holds, else made now from what earlier stages left.

        If the work raises, nothing of it stays but its room. Raises `ArtifactError` for an input that the recipe has
        left behind, or if another process works in the folder.
        """
        stage = self.stages[name]
        for needed in stage.inputs:
            self.load(needed)
        if (look := self.look(name)).artifact:
            return look.artifact
        self.out.mkdir(parents=True, exist_ok=True)
        with self._alone(name):
            look = self.look(name)  # the process that was here before may have made it
            if look.artifact:
                return look.artifact
            assert look.key is not None  # the inputs are there
            self._note_game()
            return self._former(stage, look.key) or self._work(stage, look.key, look.reason)

    def adopt(self, name: str) -> Artifact:
        """Keep the stage's result although code that it ran has changed since, and record that.

        Raises `ArtifactError` if anything else has changed too: that is another result.
        """
        stage = self.stages[name]
        look = self.look(name)
        if look.artifact:
            return look.artifact
        manifest, _ = read_manifest(self.out / stage.folder)
        if manifest is None or look.key is None:
            raise ArtifactError(f"{self.out / stage.folder}: {name}: {look.reason}; there is no result to adopt")
        if _difference(manifest.key.model_copy(update={"code": look.key.code}), look.key):
            raise ArtifactError(
                f"{self.out / stage.folder}: {name}: {look.reason}; only a change of code can be vouched for"
            )
        modules = tuple(_changed(manifest.key.code, look.key.code))
        adoption = Adoption(at=datetime.now(UTC).isoformat(timespec="seconds"), modules=modules)
        kept = manifest.model_copy(update={"key": look.key, "adopted": (*manifest.adopted, adoption)})
        with self._alone(name):
            write_manifest(self.out / stage.folder, kept)
        return self.load(name)

    def collect(self) -> tuple[int, int]:
        """Remove former results, unfinished work and rooms that no work of now would find; folders and bytes freed."""
        self.out.mkdir(parents=True, exist_ok=True)
        with self._alone("gc"):
            keys = {stage.folder: self.look(name).key for name, stage in self.stages.items()}
            rooms = {_room(folder, key) for folder, key in keys.items() if key}
            gone = [*self.out.glob(f"{FORMER}/*"), *self.out.glob(".*.unfinished-*")]
            gone += [room for room in self.out.glob(".*.room-*") if room.name not in rooms]
            freed = sum(path.stat().st_size for folder in gone for path in folder.rglob("*") if path.is_file())
            for folder in gone:
                shutil.rmtree(folder)
            return len(gone), freed

    def _given(self, stage: Stage, folder: Path) -> Look:
        if not folder.is_dir():
            return Look(None, f"{folder} is not there")
        return Look(None, "", Artifact(stage.name, folder, self._digests.folder(folder, [MANIFEST])))

    def _key(self, stage: Stage, inputs: Mapping[str, str]) -> Key:
        sections = {name: _plain(getattr(self.recipe, name)) for name in stage.sections}
        given = {role: self._digests.of(path) for role, path in stage.outside(self.recipe).items()}
        if stage.reads_game:
            given["game"] = self.game.digest
        return Key(
            stage=stage.name,
            report=stage.report.version,
            settings=sections | ({"options": dict(self.options)} if "options" in stage.sections else {}),
            inputs=dict(inputs) | given,
            packages={package: metadata.version(package) for package in stage.packages},
            code=code_digests(stage.work.__module__),
        )

    def _former(self, stage: Stage, key: Key) -> Artifact | None:
        """The result of the same work that stands aside, put back."""
        kept = self.out / FORMER / f"{stage.folder}-{key.digest}"
        manifest, _ = read_manifest(kept)
        if manifest is None or manifest.key != key or changed_file(kept, manifest, self._digests):
            return None
        self._set_aside(stage)
        kept.rename(self.out / stage.folder)
        return replace(self.load(stage.name), reason="the former result fits again")

    def _work(self, stage: Stage, key: Key, reason: str) -> Artifact:
        target = self.out / stage.folder
        for left in self.out.glob(f".{stage.folder}.unfinished-*"):
            shutil.rmtree(left)  # of a process that was killed
        unfinished = Path(tempfile.mkdtemp(prefix=f".{stage.folder}.unfinished-", dir=self.out))
        room = self.out / _room(stage.folder, key)
        inputs = {needed: self.load(needed) for needed in stage.inputs}
        try:
            start = time.monotonic()
            report = stage.work(Job(self.recipe, self.game, unfinished, room, inputs, self.options))
            seconds = round(time.monotonic() - start, 3)
            files = self._digests.folder(unfinished)
            manifest = Manifest(key=key, files=files, report=report.model_dump(mode="json"), seconds=seconds)
            write_manifest(unfinished, manifest)
            unfinished.chmod(0o755)
            self._set_aside(stage)
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(room, ignore_errors=True)
        return Artifact(stage.name, target, files, manifest, reused=False, reason=reason)

    def _set_aside(self, stage: Stage) -> None:
        """Make room for the stage's artifact; a long work's result is kept under its key."""
        target = self.out / stage.folder
        manifest, _ = read_manifest(target)
        if manifest and manifest.seconds > WORTH_KEEPING_S:
            kept = self.out / FORMER / f"{stage.folder}-{manifest.key.digest}"
            kept.parent.mkdir(exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            target.rename(kept)
        elif target.is_dir() and not manifest and (target / MANIFEST).is_file():
            kept = self.out / FORMER / f"{stage.folder}-{int(time.time())}"  # nobody can say how long that took
            kept.parent.mkdir(exist_ok=True)
            target.rename(kept)
        else:
            shutil.rmtree(target, ignore_errors=True)

    def _refuse_other_game(self) -> None:
        with contextlib.suppress(OSError):
            name = (self.out / _GAME).read_text("utf-8").strip()
            if name != self.game.name:
                ours, theirs = (one or "the built-in game" for one in (self.game.name, name))
                raise ArtifactError(f"{self.out}: holds the work for {theirs}, not {ours}; give another --out")

    def _note_game(self) -> None:
        write_text(self.out / _GAME, f"{self.game.name}\n")

    @contextlib.contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.out / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise ArtifactError(
                f"{self.out}: another poem-build is at work there; wait for it before {what}"
            ) from error


def _room(folder: str, key: Key) -> str:
    return f".{folder}.room-{key.digest}"


def _plain(section: object) -> Any:
    return section.model_dump(mode="json") if isinstance(section, BaseModel) else section


def _difference(before: Key, now: Key) -> str:
    """Why another key stands for other work, in the words of whoever changed it; empty if the keys agree."""
    if before.report != now.report:
        return f"its report was of version {before.report}, now {now.report}"
    if said := list(_settings(before.settings, now.settings)):
        return "; ".join(said)
    for what, old, new in (("input", before.inputs, now.inputs), ("package", before.packages, now.packages)):
        if names := _changed(old, new):
            told = f" ({old.get(names[0])}, now {new.get(names[0])})" if what == "package" else ""
            return f"{what} {', '.join(names)} changed{told}"
    if modules := _changed(before.code, now.code):
        more = f" and {len(modules) - 3} more" if len(modules) > 3 else ""
        return f"code changed: {', '.join(modules[:3])}{more}"
    return ""


def _settings(before: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted(before.keys() | now.keys()):
            yield from _settings(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif before != now:
        yield f"{path} was {before!r}, is {now!r}"


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> Sequence[str]:
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))

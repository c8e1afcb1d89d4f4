"""A recipe, a game and a folder → the stages' artifacts, each made once and kept while all that it follows from holds.

Whatever is made anew is said with its reason. A result that took longer than a minute is kept in `.former/` when
another takes its place: going back to the former settings finds it again, and `poem-build gc` removes it.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from poem.game import Game
from poem_build.errors import ArtifactError
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Adoption, Artifact, Key, Manifest, read_manifest, write_manifest
from poem_build.store.code import code_digests
from poem_build.store.digest import CACHE, Digests
from poem_build.store.folder import MANIFEST, changed_file, write_text
from poem_build.store.reasons import can_be_vouched_for, difference
from poem_build.store.stage import Finished, Job, Stage

WORTH_KEEPING_S = 60.0
"""A result that took longer is not deleted when another takes its place."""
FORMER = ".former"
GAME = "game.json"


@dataclass(frozen=True)
class Look:
    """How a stage's artifact stands: its key now, and why it cannot be taken as it is; empty if it can."""

    key: Key | None
    reason: str
    artifact: Artifact | None = None
    first: str = ""
    """The earlier stage that has to be made first, where there is one."""


class Workshop:
    """The stages of one recipe for one game in one folder.

    With `as_it_lies` an input is taken as its manifest tells of it, whatever the recipe says now: an image holds
    neither weights nor the libraries that made them. Raises `ArtifactError` for a folder of another game.
    """

    def __init__(
        self, recipe: Recipe, game: Game, out: Path, stages: Sequence[Stage], *, as_it_lies: bool = False
    ) -> None:
        self.recipe, self.game, self.out, self.as_it_lies = recipe, game, out, as_it_lies
        self.stages = {stage.name: stage for stage in stages}
        self._makers = {stage.makes: stage for stage in stages}
        self._digests = Digests(out / CACHE)
        self._refuse_other_game()

    def look(self, name: str) -> Look:
        """How the stage stands, without making anything."""
        return self._look(self.stages[name], whole=True)

    def load(self, role: str) -> Artifact:
        """The artifact as the recipe asks for it now.

        Raises `ArtifactError` naming why it is not to be had and the command that makes it, `GateError` for one that
        its stage refuses.
        """
        stage = self._makers[role]
        look = self._lying(stage) if self.as_it_lies else self._look(stage, whole=True)
        if look.artifact is None:
            raise self._refusal(stage, look)
        if look.artifact.manifest and not self.as_it_lies:
            stage.gate(Finished(self.recipe, look.artifact, self._known_inputs(stage)))
        return look.artifact

    def make(self, name: str, before: Callable[[Path], None] | None = None) -> Artifact:
        """The stage's artifact: the one that is there if all holds, else made now from what earlier stages left.

        Where there is work to do, `before` is called with its room: it may refuse the work, or leave in the room what
        that will find. If either raises, nothing stays but the room. Raises `ArtifactError` for an input that the
        recipe has left behind or if another process works in the folder, and `GateError` if the stage refuses the
        result.
        """
        stage = self.stages[name]
        inputs = {role: self.load(role) for role in stage.inputs}
        made = self.look(name).artifact or self._make(stage, inputs, before)
        if made.manifest:
            stage.gate(Finished(self.recipe, made, inputs))
        return made

    def adopt(self, name: str) -> Artifact:
        """Keep the stage's result although code or a library has changed since, and record that.

        Raises `ArtifactError` if anything else has changed too: that is another result.
        """
        stage, look = self.stages[name], self.look(name)
        if look.artifact:
            return look.artifact
        target = self.out / stage.makes
        manifest, _ = read_manifest(target)
        if manifest is None or look.key is None:
            raise ArtifactError(f"{target}: {name}: {look.reason}; there is no result to adopt")
        if changed_file(target, manifest.files, self._digests.of) or not can_be_vouched_for(manifest.key, look.key):
            raise ArtifactError(
                f"{target}: {name}: {look.reason}; only a change of code or of a library can be adopted"
            )
        adoption = Adoption(at=datetime.now(UTC).isoformat(timespec="seconds"), reason=look.reason)
        kept = manifest.model_copy(update={"key": look.key, "adopted": (*manifest.adopted, adoption)})
        with self._alone(name):
            write_manifest(target, kept)
        return self.load(stage.makes)

    def collect(self) -> tuple[int, int]:
        """Remove former results, unfinished work and rooms that no work of now would find; folders and bytes freed."""
        if not self.out.is_dir():
            return 0, 0
        with self._alone("gc"):
            keys = {stage.makes: self._look(stage, whole=False).key for stage in self.stages.values()}
            rooms = {_room(role, key) for role, key in keys.items() if key}
            gone = [*self.out.glob(f"{FORMER}/*"), *self.out.glob(".*.unfinished-*")]
            gone += [room for room in self.out.glob(".*.room-*") if room.name not in rooms]
            freed = sum(path.stat().st_size for folder in gone for path in folder.rglob("*") if path.is_file())
            for folder in gone:
                shutil.rmtree(folder)
            return len(gone), freed

    def _look(self, stage: Stage, *, whole: bool) -> Look:
        """`whole`: whether its files are as its manifest says, too; what is not read again may lie elsewhere."""
        if folder := stage.given(self.recipe):
            return self._given(stage, folder)
        inputs: dict[str, str] = {}
        for role, patterns in stage.inputs.items():
            maker = self._makers[role]
            before = self._lying(maker) if self.as_it_lies else self._look(maker, whole=False)
            if before.artifact is None:
                if before.first:
                    return before
                return Look(None, f"{maker.name} has to be made first ({before.reason})", first=maker.name)
            inputs[role] = before.artifact.digest(patterns)
        key, target = self._key(stage, inputs), self.out / stage.makes
        manifest, reason = read_manifest(target)
        if manifest is None:
            return Look(key, reason)
        if reason := difference(manifest.key, key):
            return Look(key, reason)
        try:
            stage.report.model_validate(manifest.report)
        except ValidationError:
            return Look(key, "its report is of another version")
        if whole and (changed := changed_file(target, manifest.files, self._digests.of)):
            return Look(key, f"{changed} is missing or was changed")
        return Look(key, "", Artifact(stage.name, target, manifest.files, manifest))

    def _lying(self, stage: Stage) -> Look:
        target = self.out / stage.makes
        manifest, reason = read_manifest(target)
        if manifest is None:
            return Look(None, reason)
        if changed := changed_file(target, manifest.files, self._digests.of):
            return Look(None, f"{changed} is missing or was changed")
        return Look(None, "", Artifact(stage.name, target, manifest.files, manifest))

    def _given(self, stage: Stage, folder: Path) -> Look:
        files = self._digests.folder(folder, [MANIFEST]) if folder.is_dir() else {}
        if not {"config.json", "adapter_config.json"} & files.keys():
            return Look(None, f"no {stage.makes} there, or `poem-build {stage.name}` has not made it")
        return Look(None, "", Artifact(stage.name, folder, files))

    def _refusal(self, stage: Stage, look: Look) -> ArtifactError:
        """That the stage's artifact is not to be had, and where it would come from."""
        given = stage.given(self.recipe)
        remedy = "give a folder with one" if given else "`poem-build run` makes it"
        return ArtifactError(f"{given or self.out / stage.makes}: {stage.name}: {look.reason}; {remedy}")

    def _known_inputs(self, stage: Stage) -> dict[str, Artifact]:
        looks = {role: self._look(self._makers[role], whole=False) for role in stage.inputs}
        return {role: look.artifact for role, look in looks.items() if look.artifact}

    def _key(self, stage: Stage, inputs: Mapping[str, str]) -> Key:
        outside = {role: self._digests.place(path) for role, path in stage.outside(self.recipe).items()}
        prompt = self.game.prompt_in(self.recipe.dataset.stages)
        game = {"game": self.game.digest, "prompt": prompt} if stage.reads_game else {}
        modules = (stage.work.__module__, *stage.modules(self.recipe))
        return Key(
            stage=stage.name,
            report=stage.report.version,
            settings=stage.settings(self.recipe),
            inputs=dict(inputs) | outside | game,
            packages=_versions(stage.packages),
            code={name: digest for module in modules for name, digest in code_digests(module).items()},
        )

    def _make(
        self, stage: Stage, inputs: Mapping[str, Artifact], before: Callable[[Path], None] | None = None
    ) -> Artifact:
        self.out.mkdir(parents=True, exist_ok=True)
        with self._alone(stage.name):
            look = self.look(stage.name)  # the process that was here before may have made it
            if look.artifact:
                return look.artifact
            if look.key is None:
                raise self._refusal(stage, look)
            write_text(self.out / GAME, json.dumps({"game": self.game.name}, ensure_ascii=False) + "\n")
            if former := self._former(stage, look.key):
                return former
            if before:
                before(self.out / _room(stage.makes, look.key))
            return self._work(stage, inputs, look.key, look.reason)

    def _former(self, stage: Stage, key: Key) -> Artifact | None:
        """The result of the same work that stands aside, put back."""
        kept = self.out / FORMER / f"{stage.makes}-{key.digest}"
        manifest, _ = read_manifest(kept)
        if manifest is None or manifest.key != key or changed_file(kept, manifest.files, self._digests.of):
            return None
        target = self.out / stage.makes
        self._set_aside(stage)
        kept.rename(target)
        return Artifact(stage.name, target, manifest.files, manifest, reason="a former result fits again")

    def _work(self, stage: Stage, inputs: Mapping[str, Artifact], key: Key, reason: str) -> Artifact:
        target = self.out / stage.makes
        for left in self.out.glob(f".{stage.makes}.unfinished-*"):
            shutil.rmtree(left)  # of a process that was killed
        unfinished = Path(tempfile.mkdtemp(prefix=f".{stage.makes}.unfinished-", dir=self.out))
        room = self.out / _room(stage.makes, key)
        try:
            start = time.monotonic()
            report = stage.work(Job(self.recipe, self.game, unfinished, room, inputs))
            seconds = round(time.monotonic() - start, 3)
            files = self._digests.folder(unfinished)
            told = report.model_dump(mode="json")
            manifest = Manifest(key=key, reads=stage.inputs, files=files, report=told, seconds=seconds)
            write_manifest(unfinished, manifest)
            unfinished.chmod(0o755)
            self._set_aside(stage)
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(room, ignore_errors=True)
        return Artifact(stage.name, target, files, manifest, reused=False, reason=reason)

    def _set_aside(self, stage: Stage) -> None:
        """Free the stage's place; what took long, or nobody can say how long, is kept."""
        target = self.out / stage.makes
        manifest, _ = read_manifest(target)
        unreadable = manifest is None and (target / MANIFEST).is_file()
        if unreadable or (manifest and manifest.seconds > WORTH_KEEPING_S):
            kept = self.out / FORMER / f"{stage.makes}-{manifest.key.digest if manifest else int(time.time())}"
            kept.parent.mkdir(exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            target.rename(kept)
        else:
            shutil.rmtree(target, ignore_errors=True)

    def _refuse_other_game(self) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            name = str(json.loads((self.out / GAME).read_text("utf-8"))["game"])
            if name != self.game.name:
                theirs, ours = (one or "the built-in game" for one in (name, self.game.name))
                raise ArtifactError(f"{self.out}: holds the work for {theirs}, not {ours}; give another --out")

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


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of those that are installed; one that is not has made nothing here."""
    found = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _room(role: str, key: Key) -> str:
    return f".{role}.room-{key.digest}"

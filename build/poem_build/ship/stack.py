"""`make up`, `make image`, `make rollback`: a recipe's artifacts → images, and images → a stack with an address.

Runs with the machine's own Python before any set-up, so it needs the standard library only; what needs more is a
process of its own: `poem-build` of .venv, or the build image.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poem.errors import PoemError
from poem.game import BUILT_IN, load_game
from poem.model_keys import ADAPTER_FILE
from poem_build.errors import ArtifactError, BuildError, GateError, StackError
from poem_build.models.files import SERVED, model_digest
from poem_build.recipe.names import tag
from poem_build.ship import containers, teaching
from poem_build.ship.address import address_of, check_port, wait_for_page
from poem_build.ship.containers import ROOT, Compose
from poem_build.ship.made import UNMERGED, as_arguments, folder_of, whole
from poem_build.ship.teaching import TeacherChoice

REPOSITORY = "mansion-poem-model"
PREVIOUS = f"{REPOSITORY}:previous"
TAG_LABEL = "mansion-poem.tag"
_PROVENANCE = "/usr/share/mansion-poem"
_MEMORY = 2 << 30
"""What compose.yaml gives the model."""
_BESIDE_WEIGHTS = 3 << 29
"""For the server, the context and a batch's logits: 0.5 GB is usual, three times that for a large vocabulary."""


@dataclass(frozen=True)
class Choice:
    """What a stack is for: a recipe, and a game where it is not the built-in one."""

    recipe: str
    game: Path | None = None
    limited: bool = False
    """Whether somebody has said how much memory the model may have."""

    @property
    def tag(self) -> str:
        """What stands behind the colon of the model's image, and the folder of its artifacts."""
        return tag(self.recipe, self.game_name)

    @property
    def game_name(self) -> str:
        """The game's name in all that is made of it."""
        return load_game(self.game).name if self.game else BUILT_IN

    @property
    def env(self) -> dict[str, str]:
        """The choice as compose.yaml asks for it."""
        game = {"GAME": str(self.game), "GAME_NAME": self.game_name, "POEM_GAME": "/game"} if self.game else {}
        return {"RECIPE": self.recipe, **game, **self._memory}

    @property
    def _memory(self) -> dict[str, str]:
        """What a model's container may have, where the model that lies there needs more than compose.yaml gives."""
        served = (folder_of(self.tag) / "gguf" / name for name in (SERVED, ADAPTER_FILE))
        needed = _BESIDE_WEIGHTS + sum(path.stat().st_size for path in served if path.is_file())
        return {"MODEL_MEMORY": str(needed)} if needed > _MEMORY and not self.limited else {}

    @property
    def options(self) -> list[str]:
        """The choice as `poem-build` takes it."""
        return ["--recipe", self.recipe, *(["--game", str(self.game)] if self.game else [])]


def chosen(recipe: str | None, game: Path | None, gpu: str = "", stack: str = "") -> Choice:
    """What the command line says, or else .env."""
    said = Compose(gpu, stack, {"RECIPE": recipe} if recipe else {}).config()["x-mansion-poem"]
    folder = game or (Path(said["game"]) if said["game-name"] else None)
    return Choice(said["recipe"], folder.absolute() if folder else None, bool(said["memory"]))


def up(recipe: str | None, game: Path | None, gpu: str, stack: str) -> None:
    """Start the stack, building first what is missing; returns when the page answers."""
    containers.check_engine()
    containers.check_gpu(gpu)
    compose, config = settled(chosen(recipe, game, gpu, stack), gpu, stack)
    for name in compose.dollars():
        _say(f".env: ${name} is read as an empty variable; put a value that holds a $ in single quotes")
    check_port(compose, config)
    missing = [name for name, service in config["services"].items() if containers.image(service["image"]) is None]
    if missing:
        _say(f"building {', '.join(config['services'][name]['image'] for name in missing)}")
        compose.show("build", *missing)
    compose.show("up", "--detach", "--no-build", "--remove-orphans")
    url = address_of(config)
    ready = wait_for_page(url)
    answers = "the model" if ready["answers_from"] == "model" else "the table until the model is ready"
    _say(f"{url}  answers from {answers}; `docker compose logs -f` shows what happens, `docker compose down` stops it")


def image(
    recipe: str | None,
    game: Path | None,
    gpu: str,
    stack: str,
    how: Sequence[str] = (),
    asked: TeacherChoice | None = None,
    *,
    keep: bool = False,
    bundle: bool = False,
) -> None:
    """Bring the recipe's artifacts up to date, by options of `poem-build run`, and make the stack's images.

    With `keep` they are taken as they lie, wherever they were made. A teacher that is asked writes first: the game's
    words, poems to learn from, and a table. With one, and for a `bundle`, all is packed at the end.
    """
    if gpu == "amd" and (bundle or asked):
        what = "make bundle" if bundle else "TEACHER"
        raise StackError(f"GPU=amd: {what} packs for a stand whose groups are not known; leave GPU out for the CPU")
    if keep and (asked or "--base" in how):
        what = "TEACHER" if asked else "BASE"
        raise StackError(f"KEEP: takes what lies there, and {what} has it made anew; leave one of them out")
    if not (keep or bundle) and not containers.reachable():
        choice = Choice(recipe or os.environ.get("RECIPE") or "tiny", game.absolute() if game else None)
        subprocess.run(["make", "setup"], cwd=ROOT, check=True)
        containers.poem_build(["run", *choice.options, *how, *_taught(choice, asked)])
        _say(f"no Docker engine answers: no image and no bundle; the model is in artifacts/{choice.tag}")
        return
    containers.check_engine()
    if gpu:
        containers.check_gpu(gpu)
    choice = chosen(recipe, game, gpu, stack)
    more = [*how, *_taught(choice, asked)]
    if gpu == "nvidia":
        more += ["--device", "cuda"]  # asked for by name: one that cannot be used is an error
    if not keep:
        _make_artifacts(choice, gpu or ("nvidia" if containers.nvidia_ready() else ""), more)
    made = whole(choice.tag, unmerged=UNMERGED in more)
    compose, config = settled(choice, gpu, stack)
    name = config["services"][compose.holder]["image"]
    before = containers.image(name)
    if compose.holder != "service":  # no model is in it, but our code is
        compose.show("build", "service")
    compose.show("build", compose.holder)
    after = containers.image(name)
    assert after is not None
    if before is not None and before["Id"] != after["Id"] and compose.holder == "ollama":
        containers.ask("tag", before["Id"], PREVIOUS)
    _say(_told(name, after, made))
    if asked or bundle:
        pack(choice, gpu, stack)


def pack(choice: Choice, gpu: str, stack: str) -> None:
    """Pack the images that were made, the table among them, for a stand. Raises `StackError` where that fails."""
    more = [*(["--gpu", gpu] if gpu else []), *(["--stack", stack] if stack else [])]
    containers.python("poem_build.cli.bundle", [*choice.options, *more])


def rollback() -> None:
    """Put the former model image back under its name; the one that it replaces becomes the former one."""
    containers.check_engine()
    previous = containers.image(PREVIOUS)
    if previous is None:
        raise StackError(f"{PREVIOUS}: there is none; it is kept when `make image` replaces an image")
    name = (previous["Config"].get("Labels") or {}).get(TAG_LABEL)
    if not name:
        raise StackError(f"{PREVIOUS}: has no label {TAG_LABEL}; put it back by hand with `docker tag`")
    target = f"{REPOSITORY}:{name}"
    replaced = containers.image(target)
    containers.ask("tag", previous["Id"], target)
    if replaced is None:
        containers.ask("rmi", PREVIOUS)
    else:
        containers.ask("tag", replaced["Id"], PREVIOUS)
    _say(f"{target} is {_short(previous['Id'])} again; `make up` serves it")


def settled(choice: Choice, gpu: str, stack: str) -> tuple[Compose, dict[str, Any]]:
    """The stack, told where its model comes from: the artifacts where they are whole, else the build stage.

    Raises `GateError` for artifacts that their gates refuse, unless there is an image and so none to be made.
    """
    try:
        env = as_arguments(choice.tag)
    except (ArtifactError, GateError) as error:
        env = {"MODEL_FROM": "trained"}
        before = Compose(gpu, stack, choice.env)
        if containers.image(before.config()["services"][before.holder]["image"]) is None:
            if isinstance(error, GateError):
                raise
            _say(f"{error.told}: the image build makes the model, which takes its time")
    if choice.game:
        env["GAME_DIR"] = _carried(choice.game, choice.tag)
    if limit := choice.env.get("MODEL_MEMORY"):
        _say(f"MODEL_MEMORY={limit} is what this model needs; put it into .env for a `docker compose up` of your own")
    compose = Compose(gpu, stack, {**choice.env, **env})
    return compose, compose.config()


def _carried(game: Path, tag: str) -> str:
    """The game's folder as an image build can see it: copied beside the artifacts, told from the checkout on."""
    copy = folder_of(tag) / "game"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(game, copy)
    return str(copy.relative_to(ROOT))


def _taught(choice: Choice, asked: TeacherChoice | None) -> list[str]:
    """What makes `poem-build run` learn from a teacher, after that has written."""
    if asked is None:
        return []
    subprocess.run(["make", "setup"], cwd=ROOT, check=True)
    return teaching.teach(choice.options, choice.tag, asked, own_game=choice.game is not None)


def _make_artifacts(choice: Choice, gpu: str, more: list[str]) -> None:
    """By .venv where there is one, else taken as they lie if whole, else by the build image; a GPU means the image."""
    if (ROOT / ".venv" / ".ready").is_file() and not gpu:
        containers.poem_build(["run", *choice.options, *more])
        return
    if not gpu:
        with contextlib.suppress(ArtifactError, GateError):
            whole(choice.tag, unmerged=UNMERGED in more)
            _say(f"artifacts/{choice.tag} is whole: taken as it lies")
            return
    (ROOT / "artifacts").mkdir(exist_ok=True)
    who = ["--user", f"{os.getuid()}:{os.getgid()}"]
    inside = choice
    if choice.game:  # under its own name, of which everything that is made has a part
        inside = replace(choice, game=Path("/games") / choice.game.name)
        who += ["--volume", f"{choice.game}:{inside.game}:ro"]
    Compose("nvidia" if gpu == "nvidia" else "").show(
        *("--profile", "build", "run", "--rm", *who, "build", "run", *inside.options, *more)
    )


def _told(name: str, made: dict[str, Any], artifacts: dict[str, dict[str, Any]]) -> str:
    """The line at the end: the image's name and size, the model's digest, and what the gates said."""
    digest = model_digest(artifacts["gguf"]["files"])
    model = f"GGUF {digest[:12]}"
    with contextlib.suppress(StackError, ValueError, KeyError):
        command = ("run", "--rm", "--network", "none", "--entrypoint", "cat", name)
        registered = json.loads(containers.ask(*command, f"{_PROVENANCE}/register/artifact.json"))
        model = f"model {registered['report']['digest'][:12]}, {model}"
    gates = artifacts["verify"]["report"]["score"]
    size = f"{made['Size'] / 1e6:.0f} MB"
    return f"{name}: {_short(made['Id'])}, {size}, {model}, gates: {gates['passed']} of {gates['hands']} hands passed"


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """One line of error and status 1 for what goes wrong on purpose."""
    parser = argparse.ArgumentParser(prog="stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in (("up", up.__doc__), ("image", image.__doc__)):
        command = commands.add_parser(name, help=told)
        command.add_argument("--recipe", help="a recipe's name; that of .env, or tiny, otherwise")
        command.add_argument("--game", type=Path, help="the folder of a game; the built-in one otherwise")
        command.add_argument("--gpu", default="", help="nvidia or amd; the CPU otherwise")
        command.add_argument("--stack", default="", help="embedded: without Ollama")
        if name == "image":
            command.add_argument("--base", help="another base: a folder, a GGUF file or owner/name@revision")
            command.add_argument("--keep", action="store_true", help="the artifacts as they lie: nothing is made anew")
            command.add_argument("--bundle", action="store_true", help="pack it for a machine without a network")
            command.add_argument(UNMERGED, action="store_true", help="the adapter beside a base that games share")
            teaching.add_options(command)
    commands.add_parser("rollback", help=rollback.__doc__)
    given = parser.parse_args()
    try:
        match given.command:
            case "up":
                up(given.recipe, given.game, given.gpu, given.stack)
            case "image":
                how = [*(["--base", given.base] if given.base else []), *([UNMERGED] if given.unmerged else [])]
                asked = teaching.asked(given)
                what = (given.recipe, given.game, given.gpu, given.stack)
                image(*what, how, asked, keep=given.keep, bundle=given.bundle)
            case "rollback":
                rollback()
    except (BuildError, PoemError, subprocess.CalledProcessError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

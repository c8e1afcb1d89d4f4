"""The stack is stopped, given new images and rolled back while people play: no poem that was asked for is lost.

One container behind one published port cannot do more: between the end of the old one and the start of the next
nobody listens. Who asks then is not answered badly, but not at all; a client that asks again, as our page does,
shows no error.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from poem_build.ship import containers
from poem_build.ship.stack import PREVIOUS, TAG_LABEL, rollback
from support.stack import Built, Played, Stack, running

pytestmark = pytest.mark.docker
LOG = "/data/poems.sqlite"
ROWS = f"import sqlite3; print(sqlite3.connect('{LOG}').execute('SELECT count(*) FROM generation_logs').fetchone()[0])"
NEXT = "0.0.0-next"
PATIENCE_S = 30.0
COMMITTED_S = 1.0
"""After it a row of the log is there to be read."""


@pytest.fixture(scope="module")
def stack(built: Built) -> Iterator[Stack]:
    with running(built, POEM_LOG_DB=LOG) as found:
        found.wait_for("model")
        assert found.play(1, 60, hands=1).errors == []  # then there is a log
        time.sleep(COMMITTED_S)
        yield found


@contextmanager
def another(image: str, name: str, *labels: str) -> Iterator[str]:
    """The same image as another one: of that name, with other labels."""
    given = [part for label in (*labels, "poem-test=another") for part in ("--label", label)]
    build = ["docker", "build", "--quiet", "--tag", name, *given, "-"]
    subprocess.run(build, input=f"FROM {image}\n", text=True, check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", "--force", name], check=False, capture_output=True)


def rows(stack: Stack) -> int:
    return int(stack.do("exec", "-T", "service", "python", "-c", ROWS).stdout)


def play_through(stack: Stack, change: Callable[[], object]) -> Played:
    """What players have while something is done to the stack, from before it until the model writes again."""
    before = rows(stack)
    players = stack.players(4, 1e6, patience_s=PATIENCE_S)
    players.wait_for(hands=8)
    change()
    stack.wait_for("model")
    played = players.stop()
    time.sleep(COMMITTED_S)
    assert (played.errors, played.against_rules) == ([], [])
    assert rows(stack) - before == played.hands, "whatever was written came to the player who asked for it"
    sys.stderr.write(f"\n{played.hands} hands, nobody listened for {played.unheard_s:.1f} s ")
    return played


def done(stack: Stack, *args: str) -> None:
    found = stack.do(*args)
    assert found.returncode == 0, found.stderr


def test_a_stop_and_a_start(stack: Stack) -> None:
    def stop_and_start() -> None:
        done(stack, "stop", "service")
        done(stack, "start", "service")

    played = play_through(stack, stop_and_start)
    assert played.reasons["stopping"] > 0
    assert played.refused


def test_a_new_image_of_the_service(stack: Stack, built: Built) -> None:
    image = built.image("service")
    name, _, tag = image.partition(":")
    with another(image, f"{name}:{tag.replace('0.1.0', NEXT)}"):
        stack.compose.env["POEM_VERSION"] = NEXT
        try:
            played = play_through(stack, lambda: done(stack, "up", "--detach", "--no-build"))
            assert played.reasons["stopping"] > 0
            assert played.refused
        finally:
            stack.compose.env.pop("POEM_VERSION")
            done(stack, "up", "--detach", "--no-build")
            stack.wait_for("model")


def test_the_former_image_of_the_model_put_back(stack: Stack, built: Built) -> None:
    """The service stays, so that nobody is refused; whoever asks meanwhile has the table's poem or a composed one."""
    if built.kind == "embedded":
        pytest.skip("the model is in the service's image, of which no former one is kept")

    def roll_back() -> None:
        rollback()
        done(stack, "up", "--detach", "--no-build")

    former, now = containers.image(PREVIOUS), containers.image(built.holder)
    assert now is not None
    before = stack.started_at("ollama")
    with another(built.holder, PREVIOUS, f"{TAG_LABEL}=tiny"):
        try:
            played = play_through(stack, roll_back)
        finally:
            containers.ask("tag", now["Id"], built.holder)
    if former is not None:
        containers.ask("tag", former["Id"], PREVIOUS)
    assert played.refused == []
    assert stack.started_at("ollama") != before

"""A stack of containers under a name of its own, and hands played on it: from this machine, or from inside."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from poem.game import builtin_game
from poem.hand import Answer, hand_of
from poem.rules import check
from poem_build.ship.containers import Compose
from support.process import ROOT, free_port

PLAYERS = ROOT / "tests" / "support" / "players.py"
LINE_BYTES = 1000
"""About what a hand comes to."""
CUT_OFF = ROOT / "tests" / "docker" / "cut_off.yaml"


@dataclass(frozen=True)
class Built:
    """The images of a stack; `kind` is what STACK means to `make`."""

    kind: str
    compose: Compose
    config: dict[str, Any]

    def image(self, service: str) -> str:
        return str(self.config["services"][service]["image"])

    @property
    def holder(self) -> str:
        """The image with the model in it."""
        return self.image(self.compose.holder)

    def sh(self, image: str, script: str) -> str:
        """What a shell script prints in a fresh container of root's, cut off from everything."""
        run = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh"]
        command = [*run, image, "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@dataclass
class Played:
    """What the players got."""

    hands: int = 0
    errors: list[str] = field(default_factory=list)
    against_rules: list[str] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    refused: list[float] = field(default_factory=list)
    """When nobody took a question, which was then asked again."""
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def unheard_s(self) -> float:
        """From the first question that nobody took to the last."""
        return max(self.refused) - min(self.refused) if self.refused else 0.0

    @classmethod
    def of(cls, lines: str) -> "Played":
        played = cls()
        for line in lines.splitlines():
            told = json.loads(line)
            played.hands += 1
            played.last = told
            if "error" in told:
                played.errors.append(told["error"])
                continue
            played.refused += told["refused"]
            played.sources[told["source"]] += 1
            played.reasons[told["reason"] or ""] += 1
            deck = builtin_game().deck
            broken = check(Answer(**told["answer"]), hand_of(deck, told["hand"]), deck.catchphrases)
            played.against_rules += [str(one) for one in broken[:1]]
        return played


class Players:
    """A process of players. What they tell goes to a file: in a pipe that nobody reads they would soon stand still."""

    def __init__(self, command: list[str]) -> None:
        self._told = tempfile.TemporaryFile("w+")  # noqa: SIM115
        with PLAYERS.open() as script:
            self._process = subprocess.Popen(command, stdin=script, stdout=self._told, text=True)

    def wait_for(self, hands: int, limit_s: float = 60) -> None:
        """Return once they have played so many."""
        until = time.monotonic() + limit_s
        while os.fstat(self._told.fileno()).st_size < hands * LINE_BYTES:
            assert time.monotonic() < until, "nobody plays"
            time.sleep(0.05)

    def stop(self) -> Played:
        """Let them end the hands that they have begun."""
        self._process.terminate()
        return self.played()

    def played(self) -> Played:
        """What they got, once they have ended."""
        self._process.wait()
        with self._told:
            self._told.seek(0)
            return Played.of(self._told.read())


@dataclass
class Stack:
    """A running stack; `inside` says that its players are containers, since nothing is published."""

    compose: Compose
    project: str
    inside: bool
    port: int
    image: str

    def ready(self) -> dict[str, Any] | None:
        """What /ready tells, or None while nothing answers."""
        script = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=3).read().decode())"
        if self.inside:
            done = self.do("exec", "-T", "service", "python", "-c", script, "http://127.0.0.1:3001/ready")
            return dict(json.loads(done.stdout)) if done.returncode == 0 else None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=3) as reply:
                return dict(json.load(reply))
        except (OSError, ValueError):
            return None

    def wait_for(self, answers_from: str, limit_s: float = 120) -> float:
        """Seconds until the service answers so."""
        started = time.monotonic()
        told: dict[str, Any] | None = None
        while time.monotonic() < started + limit_s:
            told = self.ready()
            if told is not None and (told["answers_from"] == answers_from or answers_from == "any"):
                return time.monotonic() - started
            time.sleep(0.1)
        raise AssertionError(f"/ready after {limit_s} s: {told}\n{self.do('logs', '--tail', '40').stdout}")

    def players(self, players: int, seconds: float, hands: int | None = None, patience_s: float = 0) -> "Players":
        """Players at work."""
        numbers = [str(players), str(seconds), str(hands or ""), str(patience_s)]
        if self.inside:
            network = f"{self.project}_front"
            run = ["docker", "run", "--rm", "--interactive", "--network", network, "--entrypoint", "python", self.image]
            return Players([*run, "-", "http://service:3001", *numbers])
        return Players([sys.executable, "-", f"http://127.0.0.1:{self.port}", *numbers])

    def play(self, players: int, seconds: float, hands: int | None = None) -> Played:
        return self.players(players, seconds, hands).played()

    def kill(self, service: str, name: str) -> None:
        """Kill a process in a container, as the kernel does when memory is short."""
        script = (
            "for comm in /proc/[0-9]*/comm; do"
            f' [ "$(cat "$comm")" = {name} ] && pid=${{comm#/proc/}} && kill -9 "${{pid%/comm}}";'
            " done; true"
        )
        done = self.do("exec", "-T", service, "sh", "-c", script)
        assert done.returncode in (0, 137), done.stderr  # 137: the container took this shell along

    def started_at(self, service: str) -> str:
        """When the service's container started last."""
        container = self.do("ps", "--all", "--quiet", service).stdout.strip()
        inspected = subprocess.run(
            ["docker", "inspect", "--format", "{{.State.StartedAt}}", container],
            capture_output=True,
            text=True,
            check=True,
        )
        return inspected.stdout.strip()

    def do(self, *args: str) -> "subprocess.CompletedProcess[str]":
        return run(self.compose, *args)


def run(compose: Compose, *args: str) -> "subprocess.CompletedProcess[str]":
    """`docker compose …` with the stack's files."""
    command = ["docker", "compose", *compose.files, *args]
    env = os.environ | compose.env
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@contextmanager
def running(built: Built, *, cut_off: bool = False, **environ: str) -> Iterator[Stack]:
    """The stack from images that are there, under a project name and a port of its own; gone at the end."""
    project = "mansion-poem-test"
    port = free_port()
    # Any cards, so that the model is asked: what is prepared is answered from the table.
    ours = {"COMPOSE_PROJECT_NAME": project, "POEM_PORT": str(port), "POEM_DEAL": "any"}
    compose = Compose("", built.kind, built.compose.env | ours | environ)
    if cut_off:
        compose.files += ["-f", str(CUT_OFF)]
    try:
        done = run(compose, "up", "--detach", "--no-build", "--pull", "never")
        assert done.returncode == 0, done.stderr
        yield Stack(compose, project, cut_off, port, built.image("service"))
    finally:
        run(compose, "down", "--volumes", "--timeout", "5")

"""A stack of containers under a name of its own, and hands played on it: from this machine, or from inside."""

import json
import os
import subprocess
import sys
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
    last: dict[str, Any] = field(default_factory=dict)

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
            played.sources[told["source"]] += 1
            played.reasons[told["reason"] or ""] += 1
            deck = builtin_game().deck
            broken = check(Answer(**told["answer"]), hand_of(deck, told["hand"]), deck.catchphrases)
            played.against_rules += [str(one) for one in broken[:1]]
        return played


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

    def players(self, players: int, seconds: float, hands: int | None = None) -> "subprocess.Popen[str]":
        """Players at work; `Played.of` reads what they print."""
        numbers = [str(players), str(seconds), *([str(hands)] if hands else [])]
        if self.inside:
            network = f"{self.project}_front"
            run = ["docker", "run", "--rm", "--interactive", "--network", network, "--entrypoint", "python", self.image]
            command = [*run, "-", "http://service:3001", *numbers]
        else:
            command = [sys.executable, "-", f"http://127.0.0.1:{self.port}", *numbers]
        with PLAYERS.open() as script:
            return subprocess.Popen(command, stdin=script, stdout=subprocess.PIPE, text=True)

    def play(self, players: int, seconds: float, hands: int | None = None) -> Played:
        return Played.of(self.players(players, seconds, hands).communicate()[0])

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
def running(built: Built, *, cut_off: bool) -> Iterator[Stack]:
    """The stack from images that are there, under a project name and a port of its own; gone at the end."""
    project = "mansion-poem-test"
    port = free_port()
    # Any cards, so that the model is asked: what is prepared is answered from the table.
    ours = {"COMPOSE_PROJECT_NAME": project, "POEM_PORT": str(port), "POEM_DEAL": "any"}
    compose = Compose("", built.kind, built.compose.env | ours)
    if cut_off:
        compose.files += ["-f", str(CUT_OFF)]
    try:
        done = run(compose, "up", "--detach", "--no-build", "--pull", "never")
        assert done.returncode == 0, done.stderr
        yield Stack(compose, project, cut_off, port, built.image("service"))
    finally:
        run(compose, "down", "--volumes", "--timeout", "5")

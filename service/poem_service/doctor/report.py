"""What the doctor found → text for a reader, JSON for a program, or a file to send, in which no secret is left."""

import json
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from poem.environment import HIDDEN, without_password, without_passwords
from poem_service.doctor.visit import Played
from poem_service.variables import URLS


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; a bad one says what to do."""

    name: str
    state: State
    seen: str
    remedy: str = ""


@dataclass(slots=True)
class Report:
    """What was found, in the order in which it was looked for."""

    checks: list[Check] = field(default_factory=list)
    ready: dict[str, Any] | None = None
    played: Played | None = None
    metrics: str | None = None

    @property
    def ok(self) -> bool:
        return all(check.state is not State.BAD for check in self.checks)

    def add(self, name: str, state: State, seen: str, remedy: str = "") -> None:
        self.checks.append(Check(name, state, seen, remedy))

    def as_json(self) -> dict[str, Any]:
        """The report for a program."""
        played = self.played
        return {
            "ok": self.ok,
            "checks": [
                {"name": check.name, "state": check.state, "seen": check.seen, "remedy": check.remedy or None}
                for check in self.checks
            ],
            "hand": None
            if played is None
            else {
                "title": played.answer.title,
                "poem": played.answer.poem,
                "source": played.source,
                "reason": played.reason,
                "seconds": round(played.seconds, 3),
            },
        }


NAMES = {
    "settings": "設定",
    "deck": "札",
    "table": "控えの表",
    "service": "サービス",
    "model": "モデル",
    "prompt": "プロンプト",
    "gpu": "GPU",
    "crowd": "同時の数",
    "hand": "試し書き",
    "log": "記録",
    "cold": "立ち上がり",
    "warm": "速さ",
}
MARKS = {State.OK: "○", State.NOTE: "△", State.BAD: "×"}
_COLOURS = {State.OK: "32", State.NOTE: "33", State.BAD: "31"}


def as_text(report: Report, *, coloured: bool) -> str:
    """The report for a reader: a line a check, and under a fault what to do."""
    lines = []
    for check in report.checks:
        line = f"{MARKS[check.state]} {NAMES[check.name]}: {check.seen}"
        lines.append(f"\x1b[{_COLOURS[check.state]}m{line}\x1b[0m" if coloured else line)
        if check.remedy:
            lines.append(f"   → {check.remedy}")
    return "\n".join(lines)


_PACKAGES = ("mansion-poem", "aiohttp", "llama-cpp-python", "msgspec", "starlette", "uvicorn")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


def support_file(report: Report, environ: Mapping[str, str]) -> str:
    """The report with what a helper asks next: settings, versions, machine, `/ready` and the counters."""
    ours = sorted(name for name in environ if name.startswith(("POEM_", "OLLAMA_")))
    sent = {
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "report": report.as_json(),
        "settings": {name: _value(name, environ[name]) for name in ours},
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "machine": {"platform": platform.platform(), "memory": _memory()},
        "ready": report.ready,
        "metrics": report.metrics.splitlines() if report.metrics else None,
    }
    return without_secrets(json.dumps(sent, ensure_ascii=False, indent=2), environ) + "\n"


def _value(name: str, text: str) -> str:
    return HIDDEN if _SECRET_NAME.search(name) else without_password(text) if name in URLS else text


def without_secrets(text: str, environ: Mapping[str, str]) -> str:
    """The text without any value of a variable that is a secret by its name, and without a URL's user and password."""
    secrets = {part for name in environ if _SECRET_NAME.search(name) for part in re.split(r"[,\s]+", environ[name])}
    for secret in sorted((secret for secret in secrets if len(secret) > 3), key=len, reverse=True):
        text = text.replace(json.dumps(secret, ensure_ascii=False)[1:-1], HIDDEN)
    return without_passwords(text)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> dict[str, str]:
    """The machine's memory and this container's limit, as Linux tells them; empty elsewhere."""
    found = {}
    for name, path in {
        "machine": "/proc/meminfo",
        "limit": "/sys/fs/cgroup/memory.max",
        "limit_v1": "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    }.items():
        try:
            found[name] = " ".join(Path(path).read_text("ascii").splitlines()[:3])
        except OSError:
            continue
    return found

"""A real PostgreSQL of the tests' own, started and stopped; there where its programs are."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def programs() -> Path | None:
    """The folder of its programs, the newest version's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/none")]
    return found[-1].parent if found[-1].is_file() else None


@dataclass
class Postgres:
    """A database under one password; it may be stopped and started again."""

    home: Path
    port: int
    told: str = "-c fsync=off"
    """Settings; a machine that stops is not what most tests are about."""

    @property
    def url(self) -> str:
        return f"postgresql://postgres:a-secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 {self.told}"
        self._run("pg_ctl", "-D", str(self.home / "data"), "-l", str(self.home / "log"), "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.home / "data"), "-m", "immediate", "stop")

    def restart(self) -> None:
        """As an operator does: who is connected is sent away."""
        self._run("pg_ctl", "-D", str(self.home / "data"), "-l", str(self.home / "log"), "-m", "fast", "-w", "restart")

    def make(self) -> None:
        (self.home / "password").write_text("a-secret")
        own = ["-D", str(self.home / "data"), "-U", "postgres", "-A", "scram-sha-256", "--no-sync"]
        self._run("initdb", *own, f"--pwfile={self.home / 'password'}")

    def _run(self, program: str, *arguments: str) -> None:
        folder = programs()
        assert folder is not None
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
        subprocess.run([*user, str(folder / program), *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/")


@contextmanager
def postgres(home: Path, *told: str) -> Iterator[Postgres]:
    """One in that folder, which is its own user's."""
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = Postgres(home, port, *told)
    found.make()
    found.start()
    try:
        yield found
    finally:
        found.stop()


def eventually(holds: Callable[[], object], limit_s: float = 20.0) -> None:
    """Return once the call gives something true."""
    until = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)

"""A stand: a second Docker engine, empty, in a network namespace without a way out, and the bundle's scripts on it."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BRIDGE = "10.213.66.1/24"


def possible() -> bool:
    """Whether this user may start an engine in a network namespace of its own."""
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in ("dockerd", "unshare", "nsenter", "ip"))


@dataclass
class Stand:
    """The engine's process and socket; `home` is where the bundle was unpacked."""

    process: "subprocess.Popen[bytes]"
    socket: Path
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def script(self, name: str, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """One of the bundle's scripts, on this engine and in its network."""
        return self.sh(f"./{name}", *arguments, **environ)

    def sh(self, *command: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """A command in the bundle's folder, in the stand's network; both outputs together."""
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command],
            cwd=self.home,
            env=os.environ | self.env | environ | {"DOCKER_HOST": f"unix://{self.socket}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )

    def docker(self, *arguments: str) -> str:
        done = self.sh("docker", *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()


@contextmanager
def stand(folder: Path, home: Path) -> Iterator[Stand]:
    """An engine with nothing in it, for as long as this lasts. `folder` holds what it keeps."""
    folder.mkdir(parents=True, exist_ok=True)
    socket, log = folder / "engine.sock", folder / "engine.log"
    daemon = f"ip link set lo up && exec dockerd --host unix://{socket} --bip {BRIDGE} --data-root {folder / 'data'}"
    daemon += f" --exec-root {folder / 'exec'} --pidfile {folder / 'engine.pid'}"
    with log.open("wb") as said:
        process = subprocess.Popen(["unshare", "--net", "sh", "-c", daemon], stdout=said, stderr=said)
    found = Stand(process, socket, home)
    try:
        for _ in range(300):
            if found.sh("docker", "version").returncode == 0:
                break
            assert process.poll() is None, log.read_text("utf-8", "replace")[-2000:]
            time.sleep(0.1)
        yield found
    finally:
        left = found.sh("docker", "ps", "--all", "--quiet").stdout.split()
        if left:
            found.sh("docker", "rm", "--force", *left)
        process.terminate()
        process.wait(60)

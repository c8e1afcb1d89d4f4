"""A host outside: a network namespace behind this machine, with somebody who answers there.

A container that has a way out reaches it through this machine, as it would reach any host of the internet.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

ADDRESS, PORT = "10.213.77.2", 8077
_OURS, _NAMESPACE = "10.213.77.1", "poem-outside"


def possible() -> bool:
    """Whether this user may make network namespaces."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


@contextmanager
def somebody() -> Iterator[None]:
    """As long as this lasts, `ADDRESS` answers on `PORT`. It knows the way to this machine and nowhere else."""
    inside = ("netns", "exec", _NAMESPACE)
    subprocess.run(["ip", "netns", "delete", _NAMESPACE], capture_output=True, check=False)  # of a run that was killed
    _ip("netns", "add", _NAMESPACE)
    listener = None
    try:
        _ip("link", "add", "poem-out", "type", "veth", "peer", "name", "poem-in", "netns", _NAMESPACE)
        _ip("address", "add", f"{_OURS}/30", "dev", "poem-out")
        _ip("link", "set", "poem-out", "up")
        _ip(*inside, "ip", "address", "add", f"{ADDRESS}/30", "dev", "poem-in")
        _ip(*inside, "ip", "link", "set", "poem-in", "up")
        serve = [sys.executable, "-m", "http.server", str(PORT), "--directory", "/proc/self/net"]
        quiet = subprocess.DEVNULL
        listener = subprocess.Popen(["ip", *inside, *serve], stdout=quiet, stderr=quiet)
        _wait()
        yield
    finally:
        if listener is not None:
            listener.kill()
            listener.wait()
        _ip("netns", "delete", _NAMESPACE)


def _wait() -> None:
    for _ in range(100):
        try:
            socket.create_connection((ADDRESS, PORT), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{ADDRESS}:{PORT} does not answer")


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)

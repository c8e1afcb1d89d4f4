"""One bound socket → several processes that serve it, kept alive and stopped together."""

import errno
import logging
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from poem_service.errors import SettingsError

log = logging.getLogger("poem_service.web.workers")

RESTART_S = 1.0
EVERYWHERE = "::"

Work = Callable[[list[socket.socket]], None]


def bind(host: str, port: int) -> socket.socket:
    """The socket that all of them accept from; `::` takes IPv4 too, as it does for Ollama and Docker.

    Of a name's addresses it is an IPv4 one, if there is one. Raises `SettingsError` naming the variable to change.
    """
    both = host == EVERYWHERE and socket.has_dualstack_ipv6()
    try:
        family = min(found[0] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        bound = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        told = f"POEM_PORT: {port} on {host}: {why}; stop what listens there, or give another"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            told = f"POEM_HOST: {host}: {why}; give an address or a name of this machine"
        raise SettingsError(told) from error
    bound.set_inheritable(True)
    return bound


def supervise(work: Work, listening: socket.socket, count: int) -> None:
    """Run `work` in so many processes until a signal stops them all; one that dies by itself is started again."""
    context = multiprocessing.get_context("spawn")
    processes: list[SpawnProcess] = []
    starting = stopping = False

    def start() -> None:
        nonlocal starting
        starting = True
        if not stopping:
            process = context.Process(target=work, args=([listening],))
            process.start()
            processes.append(process)
            if stopping:  # the signal came too early for `stop` to see this one
                process.terminate()
        starting = False
        if stopping:
            listening.close()

    def stop(_: int, __: FrameType | None) -> None:
        """The workers close the port, and it is closed once nobody holds it open."""
        nonlocal stopping
        stopping = True
        for process in processes:
            process.terminate()
        if not starting:
            listening.close()

    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, stop)
    for _ in range(count):
        start()
    while processes:
        wait([process.sentinel for process in processes])
        for process in [process for process in processes if process.exitcode is not None]:
            processes.remove(process)
            if not stopping:
                log.error("a worker ended", extra={"seen": {"pid": process.pid, "status": process.exitcode}})
                time.sleep(RESTART_S)
                start()

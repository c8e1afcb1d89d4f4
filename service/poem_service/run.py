"""The environment → a service that listens, in this process or in several."""

import gc
import os
import signal
from socket import socket

from poem_service.app import build_app
from poem_service.record.log import log_to_stderr
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.web.server import Server, server_config
from poem_service.web.workers import bind, supervise


def serve() -> None:
    """Serve until told to stop, in this process or in several that share the port."""
    settings = Settings.from_env(os.environ)
    listening = bind(settings.host, settings.port)
    if settings.workers == 1:
        work([listening])
        return
    Service.of(settings)  # a file that is no good stops the start here, once and in one line
    log_to_stderr()
    _stop_on_hangup()
    supervise(work, listening, settings.workers)


def work(sockets: list[socket]) -> None:
    """One process's share of it."""
    _stop_on_hangup()
    settings = Settings.from_env(os.environ)
    service = Service.of(settings)
    log_to_stderr()
    gc.collect()
    gc.freeze()  # the deck and the word files stay for ever; no collection needs to walk them
    Server(server_config(build_app(service), settings.host, settings.port), service).run(sockets)


def _stop_on_hangup() -> None:
    """A terminal that is closed stops the service as SIGTERM does, where there are such; `nohup` keeps it running."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))

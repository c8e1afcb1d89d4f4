"""`poem-service`: the environment → a service that listens; `poem-service doctor` → what is wrong with it."""

import argparse
import gc
import os
import sys
from importlib import metadata
from socket import socket

from poem.errors import PoemError
from poem_service.app import build_app
from poem_service.errors import ServiceError
from poem_service.record.log import log_to_stderr
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.web.server import Server, server_config
from poem_service.web.workers import bind, supervise


def main() -> None:
    """The command's entry point: one line and status 2 for settings or files that are no good."""
    asked = _parser().parse_args()
    try:
        if asked.command == "doctor":
            from poem_service.doctor.command import command

            raise SystemExit(command(os.environ, asked))
        serve()
    except (ServiceError, PoemError) as error:
        sys.stderr.write(f"poem-service: {error}\n")
        raise SystemExit(2) from None


def serve() -> None:
    """Serve until told to stop, in this process or in several that share the port."""
    settings = Settings.from_env(os.environ)
    if settings.workers == 1:
        work()
        return
    Service.of(settings)  # a file that is no good stops the start here, once and in one line
    log_to_stderr()
    supervise(work, bind(settings.host, settings.port), settings.workers)


def work(sockets: list[socket] | None = None) -> None:
    """One process's share of it."""
    settings = Settings.from_env(os.environ)
    service = Service.of(settings)
    log_to_stderr()
    gc.collect()
    gc.freeze()  # the deck and the word files stay for ever; no collection needs to walk them
    Server(server_config(build_app(service), settings.host, settings.port), service).run(sockets)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="poem-service", description="Serve poems. Settings come from the environment; the README lists them."
    )
    parser.add_argument("--version", action="version", version=metadata.version("mansion-poem"))
    commands = parser.add_subparsers(dest="command", metavar="doctor")
    doctor = commands.add_parser(
        "doctor",
        help="say what is wrong with this installation",
        description="Say what is wrong with this installation.",
    )
    how = doctor.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    how.add_argument("--hand", action="store_true", help="only play a hand at the running service and print the poem")
    how.add_argument("--support", metavar="FILE", help="also write a file to send to a helper; - prints only that")
    doctor.add_argument(
        "--wait", type=float, default=60.0, metavar="S", help="how long a model may take to get ready (default: 60)"
    )
    return parser


if __name__ == "__main__":
    main()

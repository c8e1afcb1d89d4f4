"""`poem-service`: the environment → a service that listens; `poem-service doctor` → what is wrong with it."""

import argparse
import os
import sys
from importlib import metadata
from typing import NoReturn

from poem.errors import PoemError
from poem_service.errors import ServiceError
from poem_service.run import serve


def main() -> None:
    """The command's entry point: one line and status 2 for settings or files that are no good."""
    asked = _parser().parse_args()
    try:
        if asked.command == "doctor":
            from poem_service.doctor.command import command

            raise SystemExit(command(os.environ, asked))
        if asked.command == "replay":
            from poem_service.doctor import replay

            raise SystemExit(replay.command(os.environ, asked))
        serve()
    except (ServiceError, PoemError) as error:
        _refuse(str(error))
    except OSError as error:  # a file or an address that nobody could foresee to be closed to us
        where = f"{error.filename}: " if error.filename else ""
        _refuse(f"{where}{error.strerror or error}; correct the path, its rights or the address")


def _refuse(told: str) -> NoReturn:
    sys.stderr.write(f"poem-service: {told}\n")
    raise SystemExit(2) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="poem-service", description="Serve poems. Settings come from the environment; the README lists them."
    )
    parser.add_argument("--version", action="version", version=metadata.version("mansion-poem"))
    commands = parser.add_subparsers(dest="command", metavar="doctor|replay")
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
    replay = commands.add_parser(
        "replay",
        help="write the poem of a logged request again",
        description="Write the poem of a logged request again, with its hand and seed; 1 if another comes.",
    )
    replay.add_argument("request_id", metavar="REQUEST_ID", help="the X-Request-ID of its answer")
    replay.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    replay.add_argument("--wait", type=float, default=60.0, metavar="S", help="how long a model may take (default: 60)")
    return parser


if __name__ == "__main__":
    main()

"""`poem-service doctor`: what was asked on the command line → what is printed or written, and the exit status."""

import argparse
import asyncio
import json
import logging
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from poem_service.doctor.examine import examine, how_served, play_one
from poem_service.doctor.report import as_text, support_file
from poem_service.doctor.visit import StrangerError
from poem_service.errors import EngineError, Reason
from poem_service.record.remedies import REMEDIES


def command(environ: Mapping[str, str], asked: argparse.Namespace) -> int:
    """0 if nothing is wrong, 1 if something is, 2 if the support file could not be written."""
    logging.getLogger().addHandler(logging.NullHandler())  # a service started for the occasion logs nothing
    if asked.hand:
        return _hand(environ, asked.wait)
    report = asyncio.run(examine(environ, asked.wait))
    if asked.json:
        _print(json.dumps(report.as_json(), ensure_ascii=False))
    elif asked.support == "-":
        _print(support_file(report, environ).rstrip("\n"))
    else:
        _print(as_text(report, coloured=sys.stdout.isatty()))
    if asked.support not in (None, "-"):
        try:
            Path(asked.support).write_text(support_file(report, environ), "utf-8")
        except OSError as error:
            sys.stderr.write(f"poem-service: --support {asked.support}: {error.strerror}; give a path to write to\n")
            return 2
        _print(f"\n{asked.support} に書きました。このファイルを開発者に送ってください。")
    return 0 if report.ok else 1


def _hand(environ: Mapping[str, str], wait_s: float) -> int:
    try:
        found = asyncio.run(play_one(environ, wait_s, secrets.randbelow(2**31)))
    except (EngineError, StrangerError) as error:
        sys.stderr.write(f"poem-service: {error}\n")
        return 1
    if found is None:
        sys.stderr.write("poem-service: サービスが答えません。起動してから、もう一度試してください。\n")
        return 1
    played, ready = found
    why = f"（{REMEDIES[played.reason][0]}）" if played.reason and played.reason is not Reason.PREPARED else ""
    how = how_served(played, ready) + why
    _print(f"「{played.answer.title}」\n\n{played.answer.poem}\n\n{how}")
    return 0


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")

"""`make scale`: several machines' worth of parts on this one, each restarted in turn under players → what was lost.

    python -m bench.scale [--hands 20000] [--rate 25] [--gguf FILE]

Three services behind nginx, llama-server and Ollama behind them, their log in PostgreSQL; all are processes of this run
on ports of their own. Hands arrive at an even pace while each part is restarted, and each engine killed. Says first
what it lacks here. Prints two tables and a line of JSON; exits 1 unless each hand had a poem within rules, and a row.
"""

import argparse
import asyncio
import importlib.util
import json
import shutil
import signal
from pathlib import Path
from typing import Any

from support.postgres import programs

ROOT = Path(__file__).resolve().parents[2]


def lacking() -> list[str]:
    """What it cannot do without, each with the remedy."""
    found = [] if shutil.which("nginx") else ["nginx (apt-get install nginx)"]
    found += [] if programs() else ["PostgreSQL (apt-get install postgresql)"]
    return found + ([] if importlib.util.find_spec("psycopg") else ["psycopg (pip install -e '.[postgresql]')"])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=25.0, help="hands a second")
    parser.add_argument("--gguf", type=Path, default=ROOT / "artifacts" / "tiny" / "gguf" / "model-Q4_K_M.gguf")
    options = parser.parse_args()
    if lacks := lacking():
        print(f"scale: skipped, not here: {', '.join(lacks)}")
        return
    if not options.gguf.is_file():
        raise SystemExit(f"scale: {options.gguf}: no model; make it with `poem-build run`, or give --gguf FILE")
    ollama = shutil.which("ollama") is not None
    if not ollama:
        print("scale: no `ollama` on PATH: its part is skipped, and one engine serves")

    from bench.scale.course import run  # psycopg is there
    from bench.scale.parts import llama_server

    if llama_server() is None:
        print(
            "scale: no `llama-server` on PATH or beside Ollama: llama.cpp inside one more poem-service stands in for it"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no part may be left behind
    found = asyncio.run(run(options.gguf, options.hands, options.rate, ollama))
    print(table(found))
    print(json.dumps(found, ensure_ascii=False))
    lost = found["errors"] or found["rows_lost"] or found["rows_twice"] or found["rows"] != found["hands"]
    raise SystemExit(1 if lost else 0)


def table(found: dict[str, Any]) -> str:
    """For people, and for docs/scale.md."""
    writers = list(found["written_by"])
    lines = [f"| while | hands | errors | p50 s | p95 s | p99 s | {' | '.join(writers)} |"]
    lines.append("|---" * (6 + len(writers)) + "|")
    for name, phase in [*found["phases"].items(), ("all", found)]:
        cells = [phase[each] for each in ("hands", "errors", "p50_s", "p95_s", "p99_s")]
        cells += [phase["written_by"].get(writer, 0) for writer in writers]
        lines.append(f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    lines += ["", "| part | by | after s | back after s |", "|---|---|---|---|"]
    lines += [f"| {r['part']} | {r['how']} | {r['at_s']} | {r['back_s']} |" for r in found["restarts"]]
    lines += [
        "",
        f"rows {found['rows']:,}, lost {found['rows_lost']}, twice {found['rows_twice']}, in {found['seconds']:,} s",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

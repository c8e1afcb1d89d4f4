"""Holds the memory that `poem-build plan` reckons for each stage beside what a run of it takes at its peak.

    python -m bench.memory [--recipe tiny] [--steps 4]

Each stage is a process of its own on a fresh folder; training is cut to a few steps, the longest examples first among
them as in any training.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from poem_build.recipe.schema import RECIPES

STAGES = ("dataset", "train", "merge", "convert", "quantize")
MEASURED = STAGES[1:]
TEXTS = 4
POEM_BUILD = [sys.executable, "-c", "from poem_build.cli.main import main; main()"]
_LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""A small process between us and the command, to whose peak Linux counts what its parent had when it was started."""


def main() -> None:
    """Every stage's peak, beside what was reckoned."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = measured(args.recipe, args.steps, Path(folder))
    print(f"{'stage':10} {'measured MB':>12} {'computed MB':>12} {'ratio':>6}")
    for stage, (peak, computed) in told.items():
        print(f"{stage:10} {peak / 1e6:12.0f} {computed / 1e6:12.0f} {computed / peak:6.2f}")


def measured(recipe: str, steps: int, folder: Path) -> dict[str, tuple[int, int]]:
    """Bytes that each stage took at its peak, and those that the plan reckons."""
    path = short_recipe(recipe, steps, folder)
    peaks = {stage: peak([stage, "--recipe", str(path), "--out", str(folder / "out")]) for stage in STAGES}
    command = [*POEM_BUILD, "plan", "--recipe", str(path), "--out", str(folder / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    needs = {one["stage"]: one["bytes"] for one in json.loads(done.stdout)["memory"] if one["place"] == "ram"}
    return {stage: (peaks[stage], needs[stage]) for stage in MEASURED}


def short_recipe(recipe: str, steps: int, folder: Path) -> Path:
    """The recipe with few examples, a training that is cut short, and few texts to quantize by."""
    text = (RECIPES / f"{recipe}.toml").read_text("utf-8").replace("[train]\n", f"[train]\nmax_steps = {steps}\n", 1)
    for split, size in (("train", 64), ("valid", 8), ("test", 32)):
        text = re.sub(rf"^{split} = \d+", f"{split} = {size}", text, count=1, flags=re.MULTILINE)
    text += f"\n[quantize]\ntexts = {TEXTS}\ncompared = []\n"
    path = folder / f"{recipe}.toml"
    path.write_text(text.replace('path = "', f'path = "{RECIPES}/'), "utf-8")
    return path


def peak(arguments: list[str]) -> int:
    """The most memory that the command had resident, in bytes."""
    command = [sys.executable, "-c", _LAUNCHER, *POEM_BUILD, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: failed")
    return int(done.stdout) * 1024


if __name__ == "__main__":
    main()

"""A Python → `.venv` with what `make demo` and `make test` need, told step by step; standard library only.

With uv on PATH uv installs, else pip. PyTorch comes from its own index for processors where that answers: the wheel
of the package index brings 2.5 GB of CUDA along, which a machine without an NVIDIA GPU never uses.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import urllib.request
from functools import cache
from pathlib import Path

TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
ROOT = Path(__file__).resolve().parents[1]
# As the converter is fetched and llama.cpp is compiled, whatever else is cached.
ABOUT = "compiling llama.cpp takes about 6 minutes on two cores, once; the wheel is kept in the installer's cache"


def main() -> int:
    """Make the environment; returns the exit status of the step that failed, or 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("extras", help="comma-separated, as pyproject.toml names them")
    options = parser.parse_args()
    if not (3, 11) <= sys.version_info < (3, 14):
        sys.exit("Python 3.11 to 3.13 is needed: make setup PYTHON=python3.11")
    say(f"environment: {options.venv}")
    python = options.venv / "bin" / "python"
    uv = shutil.which("uv")
    if not python.exists():
        run(
            ["uv", "venv", "--seed", "--python", sys.executable, options.venv]
            if uv
            else [sys.executable, "-m", "venv", options.venv]
        )
    install = ["uv", "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    if not has(python, "pip"):  # as uv once left it; the converter is fetched by pip
        run([*install, "pip"] if uv else [python, "-m", "ensurepip"])
    install += ["--constraint", ROOT / "constraints.txt"]
    if index := torch_index(python):
        say(f"PyTorch for processors from {index}: about 0.2 GB")
        run([*install, "--index-url", index, "torch"])
    elif not has(python, "torch"):
        size = "" if sys.platform == "darwin" else ", CUDA included: about 2.6 GB"
        say(f"PyTorch from the package index{size}")
    say(f"everything else ({options.extras}): about 0.6 GB; {ABOUT}")
    hook = f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={ROOT / 'build' / 'llama.cpp.cmake'}"
    flags = " ".join(filter(None, ("-DLLAVA_BUILD=OFF", shlex.quote(hook), os.environ.get("CMAKE_ARGS"))))
    run([*install, "--editable", f"{ROOT}[{options.extras}]"], CMAKE_ARGS=flags)
    say("llama.cpp's converter: 77 MB")
    run([python, "-m", "poem_build.models.converter"])
    return 0


def torch_index(python: Path) -> str | None:
    """Where PyTorch for processors is to be had: TORCH_INDEX, or its own index if that answers.

    None where PyTorch is there already, an NVIDIA GPU is, or no index but the usual one can be reached.
    """
    if has(python, "torch") or shutil.which("nvidia-smi") or sys.platform == "darwin":
        return None
    index = os.environ.get("TORCH_INDEX", TORCH_INDEX)
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=5):
            return index
    except OSError:
        return None


@cache
def has(python: Path, module: str) -> bool:
    """Whether a module can be imported there."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def run(command: list[object], **environment: str) -> None:
    """Run a step before the eyes of whoever waits; ends this process with the step's status if it fails."""
    status = subprocess.run(list(map(str, command)), env=os.environ | environment, check=False).returncode
    if status:
        sys.exit(status)


def say(text: str) -> None:
    """Tell what comes next."""
    print(f"make setup: {text}", flush=True)  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(main())

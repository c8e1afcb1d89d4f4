"""Times the chain's stages on a fresh folder: seconds, and each stage's share of the whole."""

import os
import tempfile
from pathlib import Path

from poem_build.cli.pipeline import run_all
from poem_build.recipe.schema import load_recipe
from poem_build.ship import register


def main() -> None:
    """Build `tiny` once from its base, with an Ollama of its own where the program is there; print the table."""
    recipe = load_recipe("tiny")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        os.environ["OLLAMA_MODELS"] = str(out / "ollama-models")
        host = "http://127.0.0.1:11979"
        with register.running_server(host, out / "ollama.log") as ollama:
            seconds = {name: made.seconds for name, made in run_all(recipe, out, host, ollama)}
    total = sum(seconds.values())
    print(f"{'stage':12} {'seconds':>8} {'share':>7}")
    for name, spent in seconds.items():
        print(f"{name:12} {spent:8.1f} {spent / total:7.1%}")
    print(f"{'all':12} {total:8.1f}")


if __name__ == "__main__":
    main()

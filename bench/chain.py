"""Times the chain's stages on a fresh folder: seconds, and each stage's share of the whole."""

import os
import tempfile
from pathlib import Path

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.cli.options import Chosen
from poem_build.engine.ollama import running_server
from poem_build.recipe.schema import load_recipe


def main() -> None:
    """Build `tiny` once from its base, with an Ollama of its own where the program is there; print the table."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        chosen = Chosen(load_recipe("tiny"), builtin_game(), None, out)
        os.environ["OLLAMA_MODELS"] = str(out / "ollama-models")
        host = "http://127.0.0.1:11979"
        with running_server(host, chosen.log) as ollama:
            seconds = {made.stage: made.seconds for made in pipeline.run_all(chosen.workshop(host if ollama else None))}
    total = sum(seconds.values())
    print(f"{'stage':12} {'seconds':>8} {'share':>7}")
    for name, spent in seconds.items():
        print(f"{name:12} {spent:8.1f} {spent / total:7.1%}")
    print(f"{'all':12} {total:8.1f}")


if __name__ == "__main__":
    main()

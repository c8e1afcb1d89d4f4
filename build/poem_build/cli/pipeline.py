"""The order of the stages: the one place that knows which follows which."""

from collections.abc import Callable, Iterator
from pathlib import Path

from poem_build.data import dataset
from poem_build.export import convert, merge, modelfile, quantize
from poem_build.judge import fidelity, verify
from poem_build.models import source
from poem_build.recipe.schema import Recipe
from poem_build.ship import register
from poem_build.store.artifact import Artifact
from poem_build.train import lora as train

Stage = Callable[[Recipe, Path], Artifact]

STAGES: dict[str, tuple[Stage, str]] = {
    "dataset": (dataset.run, "Make the data set: chat examples in three splits without a common hand."),
    "train": (train.run, "Train the LoRA adapter."),
    "merge": (merge.run, "Merge base and adapter."),
    "convert": (convert.run, "Convert to an f16 GGUF; refuses if token ids differ."),
    "quantize": (quantize.run, "Quantize to Q4_K_M."),
    "fidelity": (fidelity.run, "Show what each step from base to Q4_K_M lost; refuses where it is unfaithful."),
    "modelfile": (modelfile.run, "Render the Modelfile and the body of Ollama's create request."),
    "verify": (verify.run, "Smoke test: load the model and play a few hands."),
}
"""How a model is made; a base that has to be brought comes first, and `register` follows where an Ollama is."""


def run_all(recipe: Recipe, out: Path, host: str, ollama: bool) -> Iterator[tuple[str, Artifact]]:
    """Every stage's command and artifact as it is finished; `ollama` says whether one answers at `host`."""
    if recipe.base.brought:
        yield "base", source.run(recipe, out)
    for name, (stage, _) in STAGES.items():
        yield name, stage(recipe, out)
    if ollama:
        yield "register", register.run(recipe, out, host)

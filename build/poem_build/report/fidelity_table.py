"""What the stages found out about faithfulness → one table in Markdown, gates first."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from poem_build.errors import ArtifactError
from poem_build.judge import gates
from poem_build.recipe.schema import Recipe
from poem_build.report import markdown
from poem_build.store import artifact
from poem_build.store.artifact import Artifact

FILE = "fidelity.md"


def write(recipe: Recipe, out: Path) -> str:
    """Write the table beside the stages' folders, from whatever stages have run, and return it."""
    text = render(recipe, *_measured(out), _registered(out))
    if gates.cut_short(out):
        text += "\nThe training was cut short, so what only a whole one reaches is told and not asked.\n"
    artifact.write_text(out / FILE, text)
    return text


def render(recipe: Recipe, f16: Artifact, gguf: Artifact, fidelity: Artifact, registered: Artifact | None) -> str:
    """The table; `registered` is None where no Ollama has counted tokens."""
    told = fidelity.figures
    quantized = (
        (
            kind,
            f"{seen['bytes'] / 1e6:.1f}",
            f"{seen['perplexity']:.4f}",
            f"{seen['kl_divergence']:.5f}",
            f"{seen['same_top_token']:.2%}",
        )
        for kind, seen in told["quantized"].items()
    )
    parts = (
        f"# {recipe.name}: faithful at each step",
        markdown.table(["checked", "seen", "asked for", ""], _checks(recipe, f16, gguf, told, registered)),
        f"The same {told['poems']} held-out poems, {told['tokens']:,} tokens; ± is half a 95 % interval:",
        markdown.table(["step", "log-probability of a poem, nats", "nats a token", "change by the step"], _steps(told)),
        "Held against the f16 GGUF on the same tokens:",
        markdown.table(["GGUF", "MB", "perplexity", "KL divergence, nats a token", "same top token"], quantized),
    )
    return "\n\n".join(parts) + "\n"


def _checks(
    recipe: Recipe, f16: Artifact, gguf: Artifact, told: Mapping[str, Any], registered: Artifact | None
) -> Iterable[list[str]]:
    gate, parity, gain = recipe.gate, f16.figures["token_parity"], told["tuned_above_base"]
    yield _differing("token ids: transformers, llama.cpp", parity)
    if registered and "token_counts" in registered.figures:
        yield _differing("token counts: llama.cpp, Ollama", registered.figures["token_counts"])
    else:
        yield ["token counts: llama.cpp, Ollama", "not counted: no Ollama", "0", "–"]
    off = told["f16_above_merged"]
    yield [
        "f16 GGUF against transformers, mean NLL",
        f"{off:+.6f} nats a token",
        f"±{gate.nll_within:g}",
        _mark(abs(off) <= gate.nll_within),
    ]
    yield [
        "a held-out poem, Q4_K_M against base",
        f"{_with_interval(gain)} nats",
        "above 0 beyond the interval",
        _mark(gain["mean"] > gain["interval"]),
    ]
    kinds = {kind: n for kind, n in gguf.figures["tensors"].items() if kind not in {"F32", "Q4_K", "Q5_K", "Q6_K"}}
    others = f" ({', '.join(f'{n} {kind}' for kind, n in kinds.items())})" if kinds else ""
    count = f"{gguf.figures['not_k_quants']} of {sum(gguf.figures['tensors'].values())}"
    yield ["tensors that no K-quant could take", count + others, "counted", "–"]


def _differing(what: str, found: Mapping[str, int]) -> list[str]:
    return [what, f"{found['different']} of {found['texts']:,} texts differ", "0", _mark(found["different"] == 0)]


def _steps(told: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, step in told["steps"].items():
        change = _with_interval(step["change"]) if "change" in step else ""
        own = step["log_probability"]
        yield [name, f"{own['mean']:.2f} ± {own['interval']:.2f}", f"{step['nll']:.4f}", change]


def _with_interval(found: Mapping[str, float]) -> str:
    return f"{found['mean']:+.3f} ± {found['interval']:.3f}"


def _mark(good: bool) -> str:
    return "ok" if good else "**red**"


def _measured(out: Path) -> tuple[Artifact, Artifact, Artifact]:
    return artifact.load(out, "f16"), artifact.load(out, "gguf"), artifact.load(out, "fidelity")


def _registered(out: Path) -> Artifact | None:
    """What `register` left, if it was for the GGUF that is there now."""
    with contextlib.suppress(ArtifactError):
        found = artifact.load(out, "register")
        if found.inputs["gguf"] == artifact.load(out, "gguf").digest:
            return found
    return None

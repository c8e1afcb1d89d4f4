"""What the stages found out about faithfulness → one table in Markdown, gates first."""

from collections.abc import Iterable

from poem_build.export.convert import ConvertReport
from poem_build.export.parity import Parity
from poem_build.export.quantization import K_QUANTS
from poem_build.export.quantized import QuantizeReport
from poem_build.export.quantized import red_lines as quantize_lines
from poem_build.judge.fidelity import TABLE, FidelityReport
from poem_build.judge.fidelity import red_lines as fidelity_lines
from poem_build.recipe.schema import Recipe
from poem_build.report import markdown

FILE = TABLE


def render(
    recipe: Recipe,
    convert: ConvertReport,
    quantize: QuantizeReport,
    fidelity: FidelityReport,
    counted: Parity | None,
    *,
    cut_short: bool,
) -> str:
    """The table; `counted` is None where no Ollama has counted tokens."""
    quantized = (
        (
            kind,
            f"{one.bytes / 1e6:.1f}",
            f"{one.perplexity:.4f}",
            f"{one.kl_divergence:.5f}",
            f"{one.same_top_token:.2%}",
        )
        for kind, one in fidelity.quantized.items()
    )
    parts = [
        f"# {recipe.name}: faithful at each step",
        markdown.table(["checked", "seen", "asked for", ""], _checks(recipe, convert, quantize, fidelity, counted)),
        f"The same {fidelity.poems} held-out poems, {fidelity.tokens:,} tokens; ± is half a 95 % interval:",
        markdown.table(
            ["step", "log-probability of a poem, nats", "nats a token", "change by the step"], _steps(fidelity)
        ),
        "Held against the f16 GGUF on the same tokens:",
        markdown.table(["GGUF", "MB", "perplexity", "KL divergence, nats a token", "same top token"], quantized),
    ]
    if cut_short:
        parts.append("The training was cut short, so what only a whole one reaches is told and not asked.")
    return "\n\n".join(parts) + "\n"


def _checks(
    recipe: Recipe,
    convert: ConvertReport,
    quantize: QuantizeReport,
    fidelity: FidelityReport,
    counted: Parity | None,
) -> Iterable[list[str]]:
    yield _differing("token ids: transformers, llama.cpp", convert.token_parity)
    if counted:
        yield _differing("token counts: llama.cpp, Ollama", counted)
    else:
        yield ["token counts: llama.cpp, Ollama", "not counted: no Ollama", "0", "–"]
    for line in [*fidelity_lines(fidelity, recipe.gate), *quantize_lines(quantize, recipe.gate)]:
        yield [line.what, line.figure, line.limit, _mark(line.holds)]
    kinds = {kind: n for kind, n in quantize.tensors.items() if kind not in {"F32", *K_QUANTS}}
    others = f" ({', '.join(f'{n} {kind}' for kind, n in kinds.items())})" if kinds else ""
    count = f"{quantize.not_k_quants} of {sum(quantize.tensors.values())}"
    yield ["tensors that no K-quant could take", count + others, "counted", "–"]


def _differing(what: str, found: Parity) -> list[str]:
    return [what, f"{len(found.different)} of {found.texts:,} texts differ", "0", _mark(not found.different)]


def _steps(fidelity: FidelityReport) -> Iterable[list[str]]:
    for name, step in fidelity.steps.items():
        own = step.log_probability
        change = str(step.change) if step.change else ""
        yield [name, f"{own.mean:.2f} ± {own.interval:.2f}", f"{step.nll:.4f}", change]


def _mark(good: bool) -> str:
    return "ok" if good else "**red**"

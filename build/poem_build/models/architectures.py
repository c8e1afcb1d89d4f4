"""An architecture → whether what is trained of it is what llama.cpp serves, merged or as an adapter beside its base."""

from poem_build.errors import ModelFileError
from poem_build.models.converter import converter

_PHIMOE = (
    "llama.cpp sends a token to other experts than the model does (cosine of the logits 0.875 on random weights), so "
    "what was trained would not be what is served; take a dense model, recipe phi-3.5-mini for one"
)
UNFAITHFUL = {"PhimoeForCausalLM": _PHIMOE, "PhiMoEForCausalLM": _PHIMOE}
"""By the class of transformers, as config.json has it: why not."""


TRANSPOSED = frozenset({"GPT2LMHeadModel"})
"""Whose matrices lie the other way round: llama.cpp dies of an adapter for them."""


def unfit(architecture: str) -> str:
    """Why the chain cannot take a class of transformers: what it is, or what its GGUF computes; empty if it can."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if reason := UNFAITHFUL.get(architecture):
        return reason
    if architecture not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        return "is no causal language model that transformers knows; give a base that writes on"
    if architecture not in converter().TEXT_MODEL_MAP:
        return "llama.cpp's converter does not know it; give a base of another architecture"
    return ""


def refuse_unfit(architecture: str, where: str) -> None:
    """Raises `ModelFileError` for an architecture that the chain cannot take; `where` tells of it."""
    if reason := unfit(architecture):
        raise ModelFileError(f"{where}: {architecture}: {reason}")


def refuse_as_adapter(architecture: str, where: str) -> None:
    """Raises `ModelFileError` for an architecture whose adapter llama.cpp cannot load."""
    if architecture in TRANSPOSED:
        raise ModelFileError(
            f"{where}: {architecture}: llama.cpp dies of an adapter for it, as its matrices lie the other way round; "
            "leave serve.unmerged out, and it is merged"
        )

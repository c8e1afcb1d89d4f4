"""An architecture → whether what is trained of it is what llama.cpp serves, merged or as an adapter beside its base."""

from poem_build.errors import ModelFileError

_PHIMOE = (
    "llama.cpp sends a token to other experts than the model does (cosine of the logits 0.875 on random weights), so "
    "what was trained would not be what is served; take a dense model, recipe phi-3.5-mini for one"
)
UNFAITHFUL = {"PhimoeForCausalLM": _PHIMOE, "PhiMoEForCausalLM": _PHIMOE}
"""By the class of transformers, as config.json has it: why not."""


TRANSPOSED = frozenset({"GPT2LMHeadModel"})
"""Whose matrices lie the other way round: llama.cpp dies of an adapter for them."""


def refuse_unfaithful(architecture: str, where: str) -> None:
    """Raises `ModelFileError` for an architecture whose GGUF computes something else; `where` tells of it."""
    if reason := UNFAITHFUL.get(architecture):
        raise ModelFileError(f"{where}: {architecture}: {reason}")


def refuse_as_adapter(architecture: str, where: str) -> None:
    """Raises `ModelFileError` for an architecture whose adapter llama.cpp cannot load."""
    if architecture in TRANSPOSED:
        raise ModelFileError(
            f"{where}: {architecture}: llama.cpp dies of an adapter for it, as its matrices lie the other way round; "
            "leave serve.unmerged out, and it is merged"
        )

"""An architecture → whether what is trained of it is what llama.cpp serves."""

from poem_build.errors import ModelFileError

_PHIMOE = (
    "llama.cpp sends a token to other experts than the model does (cosine of the logits 0.875 on random weights), so "
    "what was trained would not be what is served; take a dense model, recipe phi-3.5-mini for one"
)
UNFAITHFUL = {"PhimoeForCausalLM": _PHIMOE, "PhiMoEForCausalLM": _PHIMOE}
"""By the class of transformers, as config.json has it: why not."""


def refuse_unfaithful(architecture: str, where: str) -> None:
    """Raises `ModelFileError` for an architecture whose GGUF computes something else; `where` tells of it."""
    if reason := UNFAITHFUL.get(architecture):
        raise ModelFileError(f"{where}: {architecture}: {reason}")

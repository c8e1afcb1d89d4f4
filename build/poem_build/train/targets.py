"""A model and its family → the matrices that an adapter is trained for, by name."""

from typing import Any

from poem_build.models.family import Family

_ROUTERS = ("gate", "router")
"""How modules end that choose a token's experts: training them unbalances what the base has learnt to balance."""
_LINEAR = frozenset({"Linear", "Linear4bit", "Linear8bitLt", "Conv1D"})


def target_modules(model: Any, family: Family) -> str | list[str]:
    """Those that the family names, else all linear ones but the head and the routers of experts."""
    if family.target_modules != "all-linear":
        named = family.target_modules
        return named if isinstance(named, str) else list(named)
    head = model.get_output_embeddings()
    linear = (
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if type(module).__name__ in _LINEAR and module is not head
    )
    return sorted({name for name in linear if not name.endswith(_ROUTERS)})

"""`[quantize]` of a recipe: which of llama.cpp's mixtures are made, and whether an importance matrix weighs them."""

from pydantic import model_validator

from poem_build.recipe.section import Positive, Section

SERVED_MIXTURE = "Q4_K_M"
"""Made of every model; the others are beside it."""
MIXTURES = {
    **{"F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "MXFP4_MOE": 8.5, "Q6_K": 6.56, "Q5_1": 6.0, "Q5_K_M": 5.7},
    **{"Q5_0": 5.5, "Q5_K_S": 5.5, "Q4_1": 5.0, "Q4_K_M": 4.9, "Q4_K_S": 4.6, "IQ4_NL": 4.5, "Q4_0": 4.5},
    **{"IQ4_XS": 4.3, "Q3_K_L": 4.3, "Q3_K_M": 3.9, "IQ3_M": 3.7, "Q3_K_S": 3.5, "IQ3_S": 3.5, "IQ3_XS": 3.3},
    **{"IQ3_XXS": 3.1, "Q2_K": 3.0, "Q2_K_S": 2.8, "IQ2_M": 2.7, "IQ2_S": 2.5, "IQ2_XS": 2.4, "Q2_0": 2.3},
    **{"IQ2_XXS": 2.1, "TQ2_0": 2.1, "IQ1_M": 1.9, "TQ1_0": 1.7, "IQ1_S": 1.6, "Q1_0": 1.2},
}
"""llama.cpp's names of its mixtures and about how many bits a weight takes in each, from large to small."""
NEEDS_MATRIX = frozenset(
    {"Q2_K_S", "IQ1_M", "IQ1_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_XS", "IQ3_XXS"},
)
"""Those that llama.cpp makes with an importance matrix only."""


class Quantize(Section):
    """The files that are made of the f16 GGUF."""

    types: tuple[str, ...] = ()
    """Mixtures that are made and kept besides Q4_K_M, each as `gguf/model-<type>.gguf`."""
    compared: tuple[str, ...] = ("Q8_0", "Q5_K_M")
    """Mixtures that are made for the table of faithfulness alone, and removed again."""
    imatrix: bool = True
    """Whether the columns are weighed by an importance matrix of the training's own texts."""
    texts: Positive = 64
    """How many texts it is reckoned from; 64 take 14 minutes of a model of 1.5B parameters on two cores."""

    @model_validator(mode="after")
    def _known(self) -> "Quantize":
        for field in ("types", "compared"):
            for kind in getattr(self, field):
                if kind not in MIXTURES:
                    raise ValueError(f"{field}: there is no {kind!r}; llama.cpp has {', '.join(MIXTURES)}")
                if kind in NEEDS_MATRIX and not self.imatrix:
                    raise ValueError(f"{field}: llama.cpp makes {kind} with an importance matrix only; imatrix = true")
        return self

    @property
    def made(self) -> tuple[str, ...]:
        """What is made and kept, from large to small."""
        return tuple(kind for kind in MIXTURES if kind in {*self.types, SERVED_MIXTURE})

    @property
    def measured(self) -> tuple[str, ...]:
        """What the table of faithfulness holds, from large to small."""
        return tuple(kind for kind in MIXTURES if kind in {*self.made, *self.compared})

    @property
    def bound(self) -> tuple[str, ...]:
        """Those of them for which the importance matrix cannot be left out."""
        return tuple(kind for kind in self.measured if kind in NEEDS_MATRIX)

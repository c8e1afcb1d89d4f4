"""The `[shape]` table of a recipe → the model's matrices and how many parameters it has, with no file of it at hand.

Norms and biases are left out everywhere: they are a thousandth of a model at most.
"""

from dataclasses import dataclass

from pydantic import Field, model_validator

from poem_build.recipe.section import Count, Positive, Section


@dataclass(frozen=True)
class Matrix:
    """Weights of one kind; y = W x with W (rows, columns), as many of them as `count`."""

    name: str
    """llama.cpp's, without the block's number."""
    rows: int
    columns: int
    """The length of a row, which is what a quantization cuts into blocks."""
    count: int

    @property
    def parameters(self) -> int:
        """Of all of them together."""
        return self.rows * self.columns * self.count


class Shape(Section):
    """What a model's config.json says of its size, under the names that `[pretrain]` has too."""

    architecture: str = Field(pattern=r"^[A-Za-z0-9]+$")
    """The class of transformers, as `architectures` in config.json has it; of a GGUF, what llama.cpp calls it."""
    vocab_size: Positive
    hidden_size: Positive
    intermediate_size: Positive
    """Width of the feed-forward part; with experts, of one of them."""
    layers: Positive
    heads: Positive
    kv_heads: Positive
    head_dim: Positive = Field(default_factory=lambda known: known["hidden_size"] // known["heads"])
    context: Positive
    """Tokens that it was made for."""
    tied: bool = False
    """Whether the output is reckoned with the embedding's matrix."""
    gated: bool = True
    """Whether the feed-forward part has a gate beside its two matrices."""
    learned_positions: bool = False
    """Whether each place in the context has an embedding of its own."""
    experts: Count = 0
    experts_used: Count = 0
    """By a token, in a layer."""
    window: Count = 0
    """Tokens that a layer looks back over; 0: all."""
    full_every: Positive = 1
    """Each how many-th layer looks at all of the context where the others have a window."""

    @model_validator(mode="after")
    def _heads_and_experts_divide(self) -> "Shape":
        if self.heads % self.kv_heads:
            raise ValueError("kv_heads: must divide heads")
        if self.experts_used > self.experts or (self.experts and not self.experts_used):
            raise ValueError("experts_used: must be between 1 and experts")
        return self

    @property
    def embeddings(self) -> tuple[Matrix, ...]:
        """What turns tokens into vectors and back."""
        token = Matrix("token_embd", self.vocab_size, self.hidden_size, 1)
        output = () if self.tied else (Matrix("output", self.vocab_size, self.hidden_size, 1),)
        places = (Matrix("position_embd", self.context, self.hidden_size, 1),) if self.learned_positions else ()
        return token, *output, *places

    @property
    def attention(self) -> tuple[Matrix, ...]:
        """The four projections of every layer."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return (
            Matrix("attn_q", query, self.hidden_size, self.layers),
            Matrix("attn_k", key, self.hidden_size, self.layers),
            Matrix("attn_v", key, self.hidden_size, self.layers),
            Matrix("attn_output", self.hidden_size, query, self.layers),
        )

    @property
    def feed_forward(self) -> tuple[Matrix, ...]:
        """The feed-forward matrices of every layer, of all experts."""
        count = self.layers * max(1, self.experts)
        gate = (Matrix("ffn_gate", self.intermediate_size, self.hidden_size, count),) if self.gated else ()
        return (
            *gate,
            Matrix("ffn_up", self.intermediate_size, self.hidden_size, count),
            Matrix("ffn_down", self.hidden_size, self.intermediate_size, count),
        )

    @property
    def routers(self) -> tuple[Matrix, ...]:
        """What chooses a token's experts; never trained, never quantized."""
        return (Matrix("ffn_gate_inp", self.experts, self.hidden_size, self.layers),) if self.experts else ()

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """All of them."""
        return *self.embeddings, *self.attention, *self.feed_forward, *self.routers

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return sum(matrix.parameters for matrix in self.matrices)

    @property
    def active(self) -> int:
        """Parameters that a token meets: of the experts, those that it is sent to."""
        share = self.experts_used / self.experts if self.experts else 1.0
        idle = sum(matrix.parameters for matrix in self.feed_forward) * (1 - share)
        return self.parameters - round(idle)

    @property
    def modules(self) -> tuple[Matrix, ...]:
        """The layers' matrices that are modules of their own; experts are one tensor together."""
        return self.attention if self.experts else (*self.attention, *self.feed_forward)

    def adapter_parameters(self, r: int) -> int:
        """Of A and B for every module."""
        return sum(r * (matrix.rows + matrix.columns) * matrix.count for matrix in self.modules)

    def kv_values(self, tokens: int) -> int:
        """Numbers in the key and value cache of so many tokens; a layer with a window keeps no more than that."""
        full = self.layers if not self.window else self.layers // self.full_every
        seen = full * tokens + (self.layers - full) * min(tokens, self.window)
        return 2 * self.kv_heads * self.head_dim * seen

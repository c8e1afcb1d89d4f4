"""`[train]` of a recipe: how what is trained is trained, and what of it stays in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from poem_build.recipe.section import Count, Fraction, Positive, Section, Whole

Method = Literal["lora", "full", "qlora", "unsloth", "dpo"]
Bits = Literal[4, 8, 16]
BITS_OF: Mapping[str, tuple[Bits, ...]] = {
    "lora": (16, 8),
    "full": (16,),
    "qlora": (4,),
    "unsloth": (4, 16),
    "dpo": (16, 8, 4),
}
"""What each method holds its weights in, the first if nothing is said."""


class Train(Section):
    """An adapter beside frozen weights (LoRA, Hu et al. 2021, arXiv:2106.09685: W + lora_alpha / r · B·A), or all."""

    method: Method = "lora"
    """`full` trains the weights themselves; `qlora` holds them in 4 bits (Dettmers et al. 2023, arXiv:2305.14314);
    `unsloth` is LoRA by its kernels; `dpo` learns preferences (Rafailov et al. 2023, arXiv:2305.18290)."""
    bits: Bits | None = None
    """Of the frozen weights, which are in `dtype` at 16."""
    r: Positive = 8
    lora_alpha: Positive = 16
    lora_dropout: Fraction = 0.0
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate goes after the warm-up; the first two fall to nothing."""
    warmup: Fraction = 0.05
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: Positive
    max_steps: Positive | None = None
    """Ends the run early, its learning rate falling to zero by then."""
    batch: Positive
    """Examples a step."""
    micro_batch: Positive | None = None
    """Examples in memory at once, the whole batch otherwise; the step's loss is the same. `dpo` asks for a divisor."""
    packing: bool = False
    """Whether the examples that are in memory at once lie in one row, each seeing only itself, instead of padded ones;
    the loss is the same. Pays where flash attention leaves out what lies between them."""
    gradient_checkpointing: bool = False
    """Activations are computed anew in the backward pass: less memory, a third more time."""
    offload: Literal["none", "optimizer", "layers"] = "none"
    """What lies in the machine's memory instead of a GPU's: the optimizer's state, or layers of the frozen weights."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; `auto` takes what the hardware does well."""
    evaluate_every: Count = 0
    """Steps between two looks at the validation loss, the best adapter being kept; 0: only before and after."""
    patience: Count = 0
    """Looks without a better loss after which training stops; 0: never."""
    checkpoint_s: float = Field(default=60.0, ge=0, exclude=True)
    """Seconds between two checkpoints; the adapter is the same whatever it is."""
    new_tokens: tuple[str, ...] = ()
    """Texts whose tokens the base has never met; their embeddings are trained along with the matrices."""
    preferences: Path | None = Field(default=None, exclude=True)
    """JSONL of `prompt`, `chosen` and `rejected`, for `dpo`."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How dear it is to `dpo` to leave the base's distribution."""
    launch: Literal["single", "ddp", "zero2", "zero3"] = "single"
    """How GPUs share the work: not, by examples, or by DeepSpeed, optimizer (2) or weights too (3) spread over them."""
    seed: Whole = 0

    @model_validator(mode="after")
    def _fits_together(self) -> "Train":
        if self.patience and not self.evaluate_every:
            raise ValueError("patience: counts looks at the validation loss; give evaluate_every too")
        if self.micro_batch and self.micro_batch > self.batch:
            raise ValueError(f"micro_batch: is beyond batch, {self.batch}, of which it is a part")
        if self.micro_batch and self.method == "dpo" and self.batch % self.micro_batch:
            raise ValueError(
                f"micro_batch: dpo takes whole ones, and {self.micro_batch} does not divide batch, {self.batch}; "
                "give one that does"
            )
        if self.bits and self.bits not in BITS_OF[self.method]:
            allowed = " or ".join(map(str, BITS_OF[self.method]))
            raise ValueError(f"bits: {self.method} holds its weights in {allowed} bits, got {self.bits}")
        if self.packing and self.method == "dpo":
            raise ValueError("packing: dpo compares whole answers, which TRL pads; leave it out")
        if self.new_tokens and self.method == "unsloth":
            raise ValueError("new_tokens: unsloth trains none; leave them out, or give method = 'qlora'")
        if (self.preferences is None) == (self.method == "dpo"):
            raise ValueError("preferences: dpo needs a JSONL of prompt, chosen and rejected; no other method reads one")
        return self

    @property
    def unmoved(self) -> str:
        """Why nothing would move the layers off a GPU; empty where they stay or something does."""
        if self.offload != "layers" or self.launch == "zero3":
            return ""
        return 'train.offload: layers are moved by DeepSpeed alone; give launch = "zero3", or offload = "optimizer"'

    @property
    def weight_bits(self) -> Bits:
        """Those given, or the method's own."""
        return self.bits or BITS_OF[self.method][0]

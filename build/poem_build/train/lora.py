"""LoRA by peft, in our own loop: the base stays as it is, and what is trained beside it is the adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poem_build.models.family import Family
from poem_build.models.load import load_model, load_tokenizer
from poem_build.models.tokens import Tokens
from poem_build.recipe.schema import Train
from poem_build.train.batches import plan
from poem_build.train.fit import Fit
from poem_build.train.protocol import Steps, Trained
from poem_build.train.trial import NumberFormat, number_format


@dataclass(frozen=True)
class Lora:
    """A trainer of LoRA adapters, as the recipe has them, for models of the family."""

    family: Family
    spec: Train

    def train(
        self, base: Path, train: Sequence[Tokens], valid: Sequence[Tokens], target: Path, checkpoints: Path
    ) -> Trained:
        """Train the adapter, from its last checkpoint if a process was killed at it."""
        spec = self.spec
        chosen = NumberFormat(dtype=spec.dtype)
        if spec.dtype == "auto":
            batch = plan(train, spec)[0][: spec.micro_batch]
            chosen = number_format(checkpoints, lambda dtype: self.adapt(base, dtype), batch)
        adapted = self.adapt(base, chosen.dtype)
        fit = Fit(adapted, train, valid, spec)
        fit.run(checkpoints)
        adapted.save_pretrained(target)
        return Trained(
            train=fit.train,
            valid=fit.valid,
            kept=fit.kept,
            steps=Steps(
                done=fit.step,
                planned=len(fit.plan),
                whole=len(plan(train, spec.model_copy(update={"max_steps": None}))),
                kept=fit.kept[0],
                resumed_at=fit.resumed_at,
            ),
            tokens=fit.tokens,
            trainable=sum(p.numel() for p in adapted.parameters() if p.requires_grad),
            number_format=chosen,
        )

    def adapt(self, base: Path, dtype: str) -> Any:
        """The base in that number format with a fresh adapter on it, the same one for the same seed."""
        import peft
        import torch

        spec, modules = self.spec, self.family.target_modules
        torch.manual_seed(spec.seed)
        lora = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=spec.r,
            lora_alpha=spec.lora_alpha,
            lora_dropout=spec.lora_dropout,
            target_modules=modules if isinstance(modules, str) else list(modules),
            trainable_token_indices=_token_ids(load_tokenizer(base), spec.new_tokens) or None,
        )
        adapted = peft.get_peft_model(load_model(base, dtype), lora)
        # peft holds them as a set, whose order in the file would be another in each process.
        lora.target_modules = sorted(lora.target_modules)
        return adapted


def _token_ids(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    return sorted({i for text in texts for i in tokenizer.encode(text, add_special_tokens=False)})

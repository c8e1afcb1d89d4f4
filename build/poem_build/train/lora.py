"""A base and the data set → a LoRA adapter, by peft; the loss is that of the answers alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poem.prompt import prompt_version
from poem_build.data.dataset import read_examples
from poem_build.errors import ModelFileError, RecipeError
from poem_build.models.chat import chat_template
from poem_build.models.load import load_model, load_tokenizer
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact
from poem_build.train import curve
from poem_build.train.batches import tokenize
from poem_build.train.checkpoints import Checkpoints
from poem_build.train.fit import Fit, plan
from poem_build.train.trial import number_format


def run(recipe: Recipe, out: Path) -> Artifact:
    """Train the adapter, from its last checkpoint if a process was killed at it.

    The figures are losses in nats a token: of the training answers in twentieths of the run, of the validation
    answers before, after and at every look between; loss.png shows them.
    """
    dataset = artifact.load(out, "dataset")
    spec = recipe.train
    settings = spec.model_dump(exclude={"checkpoint_s"}) | {"prompt_version": prompt_version()}
    settings |= {"chat_template": chat_template(recipe.base.family)} | artifact.versions("torch", "peft")
    inputs = {"base": base_digest(recipe), "dataset": dataset.digest}
    kept = artifact.checkpoint_folder(out, "adapter", settings, inputs)

    def work(folder: Path) -> dict[str, Any]:
        tokenizer = load_tokenizer(recipe.base.path)
        train, valid = (
            [tokenize(tokenizer, recipe.base.family, e) for e in read_examples(dataset.path / f"{split}.jsonl")]
            for split in ("train", "valid")
        )
        longest = {
            "example": max(map(len, train + valid)),
            "prompt": max(len(tokens.prompt) for tokens in train + valid),
        }
        check_context(recipe, longest)
        told = {"dtype": spec.dtype}
        if spec.dtype == "auto":
            batch = plan(train, spec)[0][: spec.micro_batch]
            told = number_format(kept, lambda dtype: adapt(recipe, tokenizer, dtype), batch)
        adapted = adapt(recipe, tokenizer, told["dtype"])
        fit = Fit(adapted, train, valid, spec)
        fit.run(Checkpoints(kept))
        adapted.save_pretrained(folder)
        title = f"{recipe.name}: LoRA r {spec.r}, learning rate {spec.learning_rate:g}, {spec.batch} examples a step"
        curve.draw(folder / curve.FILE, title, fit.train, fit.valid, fit.kept[0])
        return {
            "prompt_version": prompt_version(),
            "tokens": fit.tokens,
            "longest": longest,
            "trainable": sum(p.numel() for p in adapted.parameters() if p.requires_grad),
            "steps": {
                "done": fit.step,
                "planned": len(fit.plan),
                "whole": len(plan(train, spec.model_copy(update={"max_steps": None}))),
                "kept": fit.kept[0],
                "resumed_at": fit.resumed_at,
            },
            "valid_loss": {"before": round(fit.valid[0][1], 4), "after": round(fit.kept[1], 4)},
            "valid_curve": [(step, round(loss, 4)) for step, loss in fit.valid],
            "train_loss": _twentieths(fit.train),
            "number_format": told,
        }

    return artifact.make(out, "adapter", work, settings=settings, inputs=inputs)


def adapt(recipe: Recipe, tokenizer: Any, dtype: str) -> Any:
    """The base in that number format with a fresh adapter on it, the same one for the same seed."""
    import peft
    import torch

    spec = recipe.train
    torch.manual_seed(spec.seed)
    lora = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules="all-linear",
        trainable_token_indices=_token_ids(tokenizer, spec.new_tokens) or None,
    )
    adapted = peft.get_peft_model(load_model(recipe.base.path, dtype), lora)
    # peft holds them as a set, whose order in the file would be another in each process.
    lora.target_modules = sorted(lora.target_modules)
    return adapted


def base_digest(recipe: Recipe) -> str:
    """Digest of the base's folder; raises `ModelFileError` if it is not there."""
    if not (recipe.base.path / "config.json").is_file():
        made = recipe.pretrain or recipe.base.brought
        remedy = "`poem-build base` makes it" if made else "give a folder with a model"
        raise ModelFileError(f"{recipe.base.path}: base.path: no model there; {remedy}")
    return artifact.tree_digest(recipe.base.path)


def _token_ids(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    return sorted({i for text in texts for i in tokenizer.encode(text, add_special_tokens=False)})


def check_context(recipe: Recipe, longest: Mapping[str, int]) -> None:
    """Raise `RecipeError` if the context that is served has no room for an example, or a prompt and any answer to it.

    `longest` has the tokens of the longest `example` and of the longest `prompt`.
    """
    serve = recipe.serve
    needed = max(longest["example"], longest["prompt"] + serve.num_predict)
    if needed > serve.num_ctx:
        raise RecipeError(
            f"recipe {recipe.name}: serve.num_ctx: examples have up to {longest['example']} tokens, prompts "
            f"{longest['prompt']} before serve.num_predict, {serve.num_predict}; give at least {needed}"
        )


def _twentieths(losses: Sequence[float]) -> list[float]:
    """The mean of each twentieth."""
    size = math.ceil(len(losses) / 20)
    return [round(sum(part) / len(part), 4) for part in (losses[n : n + size] for n in range(0, len(losses), size))]

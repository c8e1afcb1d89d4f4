"""A base and the data set → a LoRA adapter, by peft; the loss is that of the answers alone."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poem.prompt import prompt_version
from poem_build import artifact
from poem_build.artifact import Artifact
from poem_build.batches import Tokens, answer_losses, batches, tokenize
from poem_build.chat import chat_template
from poem_build.dataset import read_examples
from poem_build.errors import ModelFileError, RecipeError
from poem_build.models import load_model, load_tokenizer
from poem_build.progress import progress
from poem_build.recipe import Recipe, Train


def run(recipe: Recipe, out: Path) -> Artifact:
    """Train the adapter; the figures are the loss in nats a token on the training and validation answers."""
    dataset = artifact.load(out, "dataset")
    spec = recipe.train

    def work(folder: Path) -> dict[str, Any]:
        import peft
        import torch

        torch.manual_seed(spec.seed)
        model, tokenizer = load_model(recipe.base.path, "float32"), load_tokenizer(recipe.base.path)
        train, valid = (
            [tokenize(tokenizer, recipe.base.family, e) for e in read_examples(dataset.path / f"{split}.jsonl")]
            for split in ("train", "valid")
        )
        longest = max(map(len, train + valid))
        check_context(recipe, longest)
        lora = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=spec.r,
            lora_alpha=spec.lora_alpha,
            lora_dropout=spec.lora_dropout,
            target_modules="all-linear",
            trainable_token_indices=_token_ids(tokenizer, spec.new_tokens) or None,
        )
        adapted = peft.get_peft_model(model, lora)
        start = mean_loss(adapted, valid, spec.batch)
        curve = _fit(adapted, train, spec)
        end = mean_loss(adapted, valid, spec.batch)
        adapted.save_pretrained(folder)
        return {
            "prompt_version": prompt_version(),
            "tokens": sum(map(len, train)) * spec.epochs,
            "longest": longest,
            "trainable": sum(p.numel() for p in adapted.parameters() if p.requires_grad),
            "valid_loss": {"before": round(start, 4), "after": round(end, 4)},
            "train_loss": curve,
        }

    settings = spec.model_dump() | {"prompt_version": prompt_version()}
    settings |= {"chat_template": chat_template(recipe.base.family)} | artifact.versions("torch", "peft")
    inputs = {"base": base_digest(recipe), "dataset": dataset.digest}
    return artifact.make(out, "adapter", work, settings=settings, inputs=inputs)


def base_digest(recipe: Recipe) -> str:
    """Digest of the base's folder; raises `ModelFileError` if it is not there."""
    if not (recipe.base.path / "config.json").is_file():
        remedy = "`poem-build base` makes it" if recipe.pretrain else "give a folder with a model"
        raise ModelFileError(f"{recipe.base.path}: base.path: no model there; {remedy}")
    return artifact.tree_digest(recipe.base.path)


def _token_ids(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    return sorted({i for text in texts for i in tokenizer.encode(text, add_special_tokens=False)})


def check_context(recipe: Recipe, longest: int) -> None:
    """Raise `RecipeError` if an example of that many tokens does not fit the context that is served."""
    if longest > recipe.serve.num_ctx:
        raise RecipeError(f"recipe {recipe.name}: serve.num_ctx: an example has {longest} tokens; give at least that")


def mean_loss(model: Any, examples: Sequence[Tokens], size: int) -> float:
    """Mean negative log-likelihood in nats over all answer tokens."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in batches(examples, size, "evaluation"):
            losses, mask = answer_losses(model, batch)
            total += float(losses.sum())
            count += int(mask.sum())
    return total / count


def _fit(model: Any, examples: Sequence[Tokens], spec: Train) -> list[float]:
    """Train in place; returns the mean loss of each twentieth of the run."""
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    plan = [batch for epoch in range(spec.epochs) for batch in batches(examples, spec.batch, f"{spec.seed} {epoch}")]
    warmup = max(1, round(len(plan) * spec.warmup))
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min((n + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * n / len(plan)))
    )
    model.train()
    curve: list[float] = []
    for batch in progress(plan, "training"):
        losses, mask = answer_losses(model, batch)
        loss = losses.sum() / mask.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        curve.append(loss.item())
    size = math.ceil(len(curve) / 20)
    return [round(sum(part) / len(part), 4) for part in (curve[n : n + size] for n in range(0, len(curve), size))]

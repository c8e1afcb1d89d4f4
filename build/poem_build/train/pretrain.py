"""Plain text of ours → a small pretrained base: a tokenizer and a Qwen2-shaped model that speak like our poems."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poem.game import builtin_game
from poem_build.data.corpus import Text, corpus, vocabulary
from poem_build.errors import RecipeError
from poem_build.models.device import device_of
from poem_build.models.likelihood import answer_losses
from poem_build.models.load import load_model
from poem_build.models.tokens import Tokens
from poem_build.progress import progress
from poem_build.recipe.schema import Phase, Pretrain, Recipe
from poem_build.store.artifact import Artifact, Report
from poem_build.store.stage import ALL, Job, Stage, plain
from poem_build.store.workshop import Workshop
from poem_build.teacher.composer import READS
from poem_build.train.batches import batches

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The split of Qwen2's tokenizer, which llama.cpp calls "qwen2".
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_END_OF_TEXT = "<|endoftext|>"
_MARKERS = ("<|im_start|>", "<|im_end|>")  # of ChatML, the family of every base made here


class PretrainReport(Report):
    """What a phase read, and its loss at the end in nats a token said."""

    tokens: int
    steps: int
    loss: float
    parameters: int


def run(recipe: Recipe, out: Path) -> Artifact:
    """Train tokenizer and weights, phase by phase, and put the last one's folder where the recipe names its base.

    Each phase is a stage of its own, which the next starts from: what is there is not trained again. Raises
    `RecipeError` for a recipe that does not say how.
    """
    if recipe.pretrain is None or recipe.base.path is None:
        raise RecipeError(
            f"recipe {recipe.name}: base.path: is a folder that no [pretrain] says how to make; it is used as it is"
        )
    stages = [_stage(n, phase) for n, phase in enumerate(recipe.pretrain.phases)]
    workshop = Workshop(recipe, builtin_game(), out, stages)
    made = [workshop.make(stage.name) for stage in stages][-1]
    _install(made.path, recipe.base.path)
    return made


def _stage(n: int, phase: Phase) -> Stage:
    """The stage of the phase with that number."""
    before = f"base-{n}"

    def work(job: Job) -> PretrainReport:
        import torch
        from transformers import PreTrainedTokenizerFast

        assert job.recipe.pretrain is not None  # `run` has looked
        spec, device = job.recipe.pretrain, device_of(job.recipe).torch
        torch.manual_seed(spec.seed)
        tokenizer = train_tokenizer(spec.vocab_size)
        if before in job.inputs:
            model = load_model(job.path(before), "float32", device)
        else:
            model = _untrained(spec, tokenizer).to(device)
        tokens, steps, loss = _learn(
            model, [_tokens(tokenizer, text) for text in corpus(phase, spec.seed)], phase, spec.seed
        )
        model.to(torch.bfloat16).save_pretrained(job.folder)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token=_END_OF_TEXT, model_max_length=spec.context
        ).save_pretrained(job.folder)
        parameters = sum(p.numel() for p in model.parameters())
        return PretrainReport(tokens=tokens, steps=steps, loss=loss, parameters=parameters)

    return Stage(
        name=f"base-{n + 1}",
        summary=f"Pretrain on {phase.text}.",
        makes=f"base-{n + 1}",
        work=work,
        report=PretrainReport,
        settings=lambda recipe: {"pretrain": _architecture(recipe), "phase": plain(phase)},
        inputs={before: ALL} if n else {},
        reads_game=True,
        outside=lambda _: READS,
        packages=("torch", "transformers", "tokenizers"),
    )


def _architecture(recipe: Recipe) -> dict[str, Any]:
    """What all phases have in common; another phase does not change the ones before it."""
    assert recipe.pretrain is not None
    return recipe.pretrain.model_dump(mode="json", exclude={"phases"})


def _untrained(spec: Pretrain, tokenizer: "Tokenizer") -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        max_position_embeddings=spec.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id(_END_OF_TEXT),
    )
    return Qwen2ForCausalLM(config)


def _install(made: Path, target: Path) -> None:
    """Put the base where the recipe names it; artifact.json goes along and says how it was made."""
    if made.resolve() == target.resolve():
        return
    beside = target.with_name(f".{target.name}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        shutil.copytree(made, beside)
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def train_tokenizer(vocab_size: int) -> "Tokenizer":
    """A byte-level BPE with Qwen2's split, with room for the chat template's special tokens.

    No token is longer than 30 bytes: llama.cpp's simple detokenizer drops those over 32.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[_END_OF_TEXT, *_MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=30,
        show_progress=False,
    )
    tokenizer.train_from_iterator(vocabulary(), trainer)
    return tokenizer


def _tokens(tokenizer: "Tokenizer", text: Text) -> Tokens:
    shown, said = (tokenizer.encode(part).ids for part in text)
    (end,) = tokenizer.encode(_END_OF_TEXT).ids
    return Tokens((end, *shown), (*said, end))


def _learn(model: Any, texts: Sequence[Tokens], phase: Phase, seed: int) -> tuple[int, int, float]:
    """Train in place, each text once; tokens, steps, and the loss of the last twentieth in nats a token said."""
    import torch

    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=phase.learning_rate, betas=(0.9, 0.95))
    steps = math.ceil(len(texts) / phase.batch)
    # Warm-up over 2 % of the steps, then a cosine down to a tenth.
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda n: min((n + 1) / max(1, steps // 50), 0.55 + 0.45 * math.cos(math.pi * n / steps)),
    )
    losses: list[float] = []
    model.train()
    for batch in progress(list(batches(texts, phase.batch, str(seed))), f"pretraining on {phase.text}"):
        found, said = answer_losses(model, batch)
        loss = found.sum() / said.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    tail = losses[-max(1, steps // 20) :]
    return sum(map(len, texts)), steps, round(sum(tail) / len(tail), 4)

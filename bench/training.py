"""Times training beside TRL's `SFTTrainer` on peft: the same base, batches, order, optimizer and number format.

    python -m bench.training [--recipe tiny] [--base FILE] [--out FOLDER] [--steps 8] [--batch 1] [--threads N]

Each side is a process of its own, so that its peak memory is its own. Ours takes a step's examples as the recipe does,
`train.micro_batch` at a time; TRL takes them at once. The first step warms up and is left out of the seconds. The
share is that of the machine's own matrix-product speed, measured in the same process, which the useful work of the
steps reaches.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from poem_build.cli import pipeline
from poem_build.cli.options import choose_work, set_up_process
from poem_build.recipe.training import Train

if TYPE_CHECKING:
    from poem_build.models.tokens import Tokens
    from poem_build.train.fit import Fit

SIDES = ("ours", "trl", "trl-stored")
"""TRL as it comes computes activations anew in the backward pass; `trl-stored` keeps them, as ours does."""


def main() -> None:
    """Each side in turn; then samples a second, peak memory and losses, with ratios to ours."""
    args = _arguments()
    if args.side:
        print(json.dumps(_side(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            args.data = Path(folder)
            pipeline.make(choose_work(args.recipe, None, None, args.data).workshop(), "dataset")
        told = {side: _ask(args, side) for side in SIDES}
    _table(told, args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--base", help="another base: a folder, a GGUF file or owner/name@revision")
    parser.add_argument("--out", type=Path, help="where a base that has to be brought lies; artifacts/RECIPE otherwise")
    parser.add_argument("--data", type=Path, help="a folder with the artifact `dataset`; made anew otherwise")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, help="PyTorch's; as many as the machine has cores otherwise")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _ask(args: argparse.Namespace, side: str) -> dict[str, Any]:
    given = {name: value for name, value in vars(args).items() if value is not None}
    command = [sys.executable, "-m", "bench.training"]
    for name, value in (given | {"side": side}).items():
        command += [f"--{name}", str(value)]
    environ = os.environ | ({"OMP_NUM_THREADS": str(args.threads)} if args.threads else {})
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _side(args: argparse.Namespace) -> dict[str, Any]:
    """Train the side's few steps and tell what they took."""
    set_up_process()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    fit, tokenizer = _prepared(args)
    speeds = [_matrix_speed(fit)]
    seconds, losses = _ours(fit) if args.side == "ours" else _trl(fit, tokenizer, stored=args.side == "trl-stored")
    speeds.append(_matrix_speed(fit))
    work = [useful_flops(fit.model, batch) for batch in fit.plan]
    return {
        "samples_per_s": fit.spec.batch / median(seconds[1:]),
        "peak_gb": _peak_gb(),
        "losses": losses,
        "share": sum(work[1:]) / sum(seconds[1:]) / max(speeds),
        "matrix_gflops": max(speeds) / 1e9,
        "longest": max(len(tokens) for batch in fit.plan for tokens in batch),
    }


def _prepared(args: argparse.Namespace) -> "tuple[Fit, Any]":
    from poem_build.data.chats import read_chats
    from poem_build.models.device import device_of
    from poem_build.models.family import family
    from poem_build.models.load import load_tokenizer
    from poem_build.train.fit import Fit
    from poem_build.train.lora import adapt
    from poem_build.train.protocol import Setup

    chosen = choose_work(args.recipe, args.base, None, args.out)
    recipe, workshop = chosen.recipe, chosen.workshop()
    base = (pipeline.make(workshop, "base") if recipe.base.brought else workshop.load("base")).path
    change = {"max_steps": args.steps, "batch": args.batch, "dtype": args.dtype}
    spec = Train(**(recipe.training.model_dump() | change))
    tokenizer, talk = load_tokenizer(base), family(recipe.base.family)
    chats = read_chats(args.data / "dataset" / "train.jsonl")[: args.steps * args.batch]
    tokens = [talk.tokens(tokenizer, chat) for chat in chats]
    device = device_of(recipe).model_copy(update={"dtype": args.dtype})
    setup = Setup(base, talk, spec, device, args.data, args.data)
    return Fit(adapt(setup), tokens, tokens[:1], spec, device), tokenizer


def _ours(fit: "Fit") -> tuple[list[float], list[float]]:
    from poem_build.train.loop import trainer

    with tempfile.TemporaryDirectory() as folder:
        loop = trainer(fit, Path(folder), resumed=True)  # no look before
        return _timed(loop)


def _timed(loop: Any) -> tuple[list[float], list[float]]:
    """Seconds and loss of each of its steps."""
    from transformers import TrainerCallback

    starts, ends = [], []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            starts.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    loop.add_callback(Clock())
    loop.train()
    losses = [float(entry["loss"]) for entry in loop.state.log_history if "loss" in entry]
    return [end - start for start, end in zip(starts, ends, strict=True)], losses


def _trl(fit: "Fit", tokenizer: Any, *, stored: bool) -> tuple[list[float], list[float]]:
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from poem_build.train.schedule import rate

    spec, steps = fit.spec, len(fit.plan)
    trained = [parameter for parameter in fit.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(spec, step, steps))
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        config = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=spec.batch,
            num_train_epochs=1,
            max_length=None,
            completion_only_loss=True,
            train_sampling_strategy="sequential",
            max_grad_norm=1.0,
            gradient_checkpointing=not stored,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        )
        loop = SFTTrainer(
            model=fit.model,
            args=config,
            train_dataset=Dataset.from_list([_row(tokens) for batch in fit.plan for tokens in batch]),
            processing_class=tokenizer,
            optimizers=(optimizer, scheduler),
        )
        return _timed(loop)


def _row(tokens: "Tokens") -> dict[str, list[int]]:
    return {
        "input_ids": [*tokens.prompt, *tokens.answer],
        "completion_mask": [0] * len(tokens.prompt) + [1] * len(tokens.answer),
    }


def useful_flops(model: Any, batch: "Sequence[Tokens]") -> int:
    """Floating-point operations of the matrix products that a step of LoRA cannot do without.

    A weight takes 2 a position forward (Kaplan et al. 2020, arXiv:2001.08361, section 2.1) and 4 backward: 2 for the
    gradient of its input, 2 for its own, which frozen weights do without. For the matrices of the layers and the
    adapter every position of prompt and answer counts, for the head the answer's alone. Attention takes 12 x heads x
    head dimension for each position and each that it sees (Chowdhery et al. 2022, arXiv:2204.02311, appendix B, where
    every position sees all; here a position sees those before it, and in a sliding layer the window's).
    """
    import torch

    config = model.config
    adapted = [layer.base_layer for layer in model.modules() if hasattr(layer, "base_layer")]
    layers = sum(layer.weight.numel() for layer in adapted if not isinstance(layer, torch.nn.Embedding))
    adapter = sum(p.numel() for name, p in model.named_parameters() if ".lora_A." in name or ".lora_B." in name)
    head = config.vocab_size * config.hidden_size
    width = config.num_attention_heads * getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    total = 0
    for tokens in batch:
        spans = [config.sliding_window if kind == "sliding_attention" else len(tokens) for kind in kinds]
        seen = sum(min(position, span) for span in spans for position in range(1, len(tokens) + 1))
        total += (4 * layers + 6 * adapter) * len(tokens) + 4 * head * len(tokens.answer) + 12 * width * seen
    return total


def _matrix_speed(fit: "Fit") -> float:
    """Operations a second of one large matrix product, in the model's number format and a layer's shape."""
    import torch

    config = fit.model.config
    positions = max(len(tokens) for batch in fit.plan for tokens in batch)
    left = torch.randn(positions, config.hidden_size, dtype=fit.model.dtype)
    right = torch.randn(config.hidden_size, config.intermediate_size, dtype=fit.model.dtype)
    times = []
    until = time.perf_counter() + 2
    while time.perf_counter() < until:
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    work: int = 2 * positions * config.hidden_size * config.intermediate_size
    return work / median(times)


def _peak_gb() -> float:
    """The most memory that this process had resident since it began; `ru_maxrss` would count its parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    return float("nan")


def _table(told: dict[str, dict[str, Any]], args: argparse.Namespace) -> None:
    ours = told["ours"]
    print(
        f"{args.recipe}: {args.steps} steps of {args.batch}, up to {ours['longest']} tokens, {args.dtype}; "
        f"matrix product {ours['matrix_gflops']:.0f} GFLOP/s"
    )
    heads = {
        "side": -12,
        "samples/s": 10,
        "ours is": 8,
        "peak GB": 8,
        "ours has": 10,
        "loss": 8,
        "apart": 8,
        "share": 6,
    }
    print(" ".join(f"{head:<{-width}}" if width < 0 else f"{head:>{width}}" for head, width in heads.items()))
    for side, one in told.items():
        apart = max(abs(a - b) for a, b in zip(one["losses"], ours["losses"], strict=True))
        print(
            f"{side:12} {one['samples_per_s']:10.3f} {ours['samples_per_s'] / one['samples_per_s']:7.2f}x"
            f" {one['peak_gb']:8.2f} {ours['peak_gb'] - one['peak_gb']:+7.2f} GB"
            f" {sum(one['losses']) / len(one['losses']):8.4f} {apart:8.1e} {one['share']:6.0%}"
        )


if __name__ == "__main__":
    main()

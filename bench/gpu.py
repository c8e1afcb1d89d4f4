"""Trains a random model of 1 to 2 thousand million parameters on a GPU: LoRA, QLoRA and Unsloth beside TRL on peft.

    python -m bench.gpu [--toy] [--steps 60] [--batch 4]

No network, and minutes: weights are made on the spot with `tiny`'s tokenizer, examples composed. Each way is a process
of its own, which tells tokens a second once it runs, its peak of memory beside what `poem-build plan` reckons, and
losses; the adapter of the first is then merged, converted, quantized and asked. What is not there is named and left
out. `--toy` does the same with two layers, on a processor too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

from poem_build.cli import pipeline
from poem_build.cli.options import choose_work, set_up_process
from poem_build.recipe.schema import RECIPES

WAYS = ("lora", "qlora", "unsloth", "trl")
WARM = 0.2
"""The share of the steps that is not timed: kernels are chosen and compiled in them."""
SIZES = {False: (1536, 8960, 28, 12, 2), True: (256, 512, 2, 4, 2)}
"""Width, feed-forward width, layers, heads, key and value heads: Qwen 2.5 1.5B's, and a toy's."""


def main() -> None:
    """Every way, then the table, then the rest of the chain."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps < 2:
        parser.error("--steps: 2 at least, the first is not timed")
    set_up_process()
    warnings.simplefilter("ignore")
    if args.way:
        print(json.dumps(_trained(args.way, args.folder, args.steps, args.batch)))
        return
    import torch

    if not (torch.cuda.is_available() or args.toy):
        print("no GPU here: not run; --toy tries the script")
        return
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: a toy on the processor")
    with tempfile.TemporaryDirectory() as told:
        folder = Path(told)
        _write_base(folder, args.steps * args.batch, toy=args.toy)
        pipeline.make(choose_work(str(folder / "gpu.toml"), None, None, folder / "out").workshop(), "dataset")
        _table({way: _ask(way, folder, args) for way in WAYS})
        _go_on(folder)


def _write_base(folder: Path, examples: int, *, toy: bool) -> None:
    """A random model, its tokenizer, and a recipe that trains it on so many examples."""
    import shutil

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

    width, feed, layers, heads, kv_heads = SIZES[toy]
    tiny = RECIPES / "tiny-base"
    config = Qwen2Config(
        vocab_size=json.loads((tiny / "config.json").read_text("utf-8"))["vocab_size"],
        hidden_size=width,
        intermediate_size=feed,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=True,
        eos_token_id=AutoTokenizer.from_pretrained(tiny).eos_token_id,
    )
    torch.set_default_dtype(torch.bfloat16)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    torch.set_default_dtype(torch.float32)
    for path in tiny.glob("tokenizer*"):
        shutil.copy(path, folder / "base")
    (folder / "gpu.toml").write_text(
        'name = "gpu"\nsummary = "random"\nlicence = "MIT"\nstatus = "written"\nparams = "random"\n'
        '[base]\npath = "base"\nfamily = "chatml"\n'
        f"[dataset]\ntrain = {examples}\nvalid = 4\ntest = 10\n"
        "[train]\nlearning_rate = 1e-4\nepochs = 1\nbatch = 4\n"
        "[quantize]\nimatrix = false\ncompared = []\n"
        "[serve]\nnum_ctx = 2048\nnum_predict = 256\ntemperature = 0.7\ntop_p = 0.95\ntop_k = 40\n"
        "[gate]\ntoken_parity_texts = 50\nsmoke_hands = 2\nsmoke_pass = 0.0\neval_pass = 0.0\n"
        "base_pass_at_most = 1.0\n",
        "utf-8",
    )


def _ask(way: str, folder: Path, args: argparse.Namespace) -> dict[str, Any] | str:
    """What the way's process tells, or why it does not."""
    command = [sys.executable, "-m", "bench.gpu", "--way", way, "--folder", str(folder)]
    command += ["--steps", str(args.steps), "--batch", str(args.batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return (done.stderr.strip().splitlines() or ["no word"])[-1]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _trained(way: str, folder: Path, steps: int, batch: int) -> dict[str, Any]:
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from poem_build.data.chats import read_chats
    from poem_build.models.device import device_of
    from poem_build.models.family import family
    from poem_build.models.load import load_tokenizer
    from poem_build.models.shapes import of_folder
    from poem_build.plan.lengths import Lengths
    from poem_build.plan.memory import training_needs
    from poem_build.plan.plan import training_of
    from poem_build.recipe.training import Train
    from poem_build.train import methods
    from poem_build.train.protocol import Setup

    recipe = choose_work(str(folder / "gpu.toml"), None, None, folder / "out").recipe
    talk, tokenizer = family("chatml"), load_tokenizer(folder / "base")
    chats = read_chats(folder / "out" / "dataset" / "train.jsonl")[: steps * batch]
    tokens = [talk.tokens(tokenizer, chat) for chat in chats]
    method = "lora" if way == "trl" else way
    spec = Train.model_validate(
        {"method": method, "learning_rate": 1e-4, "epochs": 1, "batch": batch, "r": 16, "lora_alpha": 32}
    )
    setup = Setup(folder / "base", talk, spec, device_of(recipe), folder / way, folder / f"{way}-room")
    ends: list[float] = []  # of the steps; each loss is read, so the GPU has done its part by then
    register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    losses = _by_trl(setup, tokens) if way == "trl" else methods.trainer(spec.method).train(setup, tokens, tokens[:1])
    found = losses if isinstance(losses, list) else losses.train
    warm = max(1, round(len(ends) * WARM))
    on_gpu = torch.cuda.is_available()
    lengths = Lengths(max(map(len, tokens)), max(len(one.answer) for one in tokens), len(tokens))
    how = training_of(recipe.model_copy(update={"train": spec}), lengths, gpu=on_gpu)
    assert how is not None  # it has a [train]
    need = training_needs(of_folder(setup.base), how, "gpu" if on_gpu else "ram")[0]
    return {
        "tokens_per_s": sum(map(len, tokens)) * (1 - warm / len(ends)) / (ends[-1] - ends[warm - 1]),
        "peak_gb": _on_gpu() if on_gpu else _resident(),
        "planned_gb": need.total / 1e9,
        "first": found[0],
        "last": median(found[-3:]),
    }


def _on_gpu() -> float:
    """All that this process, if alone on the GPU, took of it: the tensors at their peak, and CUDA's own."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return float(torch.cuda.max_memory_allocated() + total - free - torch.cuda.memory_reserved()) / 1e9


def _by_trl(setup: Any, tokens: Any) -> list[float]:
    """TRL's trainer as it comes, on peft's LoRA of the same matrices."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from poem_build.models.load import load_tokenizer
    from poem_build.train.lora import adapt

    rows = [
        {"input_ids": [*t.prompt, *t.answer], "completion_mask": [0] * len(t.prompt) + [1] * len(t.answer)}
        for t in tokens
    ]
    config = SFTConfig(
        output_dir=str(setup.room),
        per_device_train_batch_size=setup.spec.batch,
        num_train_epochs=1,
        learning_rate=setup.spec.learning_rate,
        max_length=None,
        completion_only_loss=True,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=setup.device.kind == "cpu",
        bf16=setup.device.dtype == "bfloat16",
        disable_tqdm=True,
    )
    loop = SFTTrainer(
        model=adapt(setup),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(setup.base),
    )
    loop.train()
    return [entry["loss"] for entry in loop.state.log_history if "loss" in entry]


def _resident() -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")) / 1e9


def _table(told: dict[str, dict[str, Any] | str]) -> None:
    print(f"{'way':8} {'tokens/s':>9} {'peak GB':>8} {'planned':>8} {'first loss':>11} {'last':>8}")
    for way, one in told.items():
        if isinstance(one, str):
            print(f"{way:8} left out: {one}")
        else:
            memory = f"{one['peak_gb']:8.2f} {one['planned_gb']:8.2f}"
            print(f"{way:8} {one['tokens_per_s']:9.0f} {memory} {one['first']:11.3f} {one['last']:8.3f}")


def _go_on(folder: Path) -> None:
    """From the LoRA to a model that answers."""
    from poem_build.models.origin import read_origin, write_origin

    write_origin(folder / "lora", read_origin(folder / "out" / "dataset"))
    chosen = choose_work(str(folder / "gpu.toml"), None, None, folder / "out", adapter=folder / "lora")
    for stage in ("merge", "convert", "quantize", "modelfile", "verify"):
        made = pipeline.make(chosen.workshop(), stage, force=True)  # random weights answer nothing right
        print(f"{stage:10} {made.seconds:.1f} s")


if __name__ == "__main__":
    main()

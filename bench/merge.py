"""Times the merge beside peft's and beside a mere copy of the files: seconds, and memory over that of the imports.

    python -m bench.merge [--width 1536] [--layers 12] [--r 16] [--shard 256MB]

A base of random numbers in Qwen2's shape, and an adapter for all of its matrices. Each side is a process of its own,
which reads from a warm cache and ends when its files are on the disk; `copy` is the disk's own speed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from poem_build.cli.options import set_up_process

SIDES = ("copy", "ours", "peft")


def main() -> None:
    """Each side in turn; then seconds, MB a second and peak memory, with ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--r", type=int, default=16)
    parser.add_argument("--shard", default="256MB")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    set_up_process()
    warnings.simplefilter("ignore")
    if args.side:
        print(json.dumps(_side(args.side, args.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write(args, Path(folder))
        told = {side: _ask(side, Path(folder)) for side in SIDES}
        _table(told, Path(folder))


def _write(args: argparse.Namespace, folder: Path) -> None:
    import peft
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    config = Qwen2Config(
        hidden_size=args.width,
        intermediate_size=args.width * 5,
        num_hidden_layers=args.layers,
        num_attention_heads=args.width // 128,
        num_key_value_heads=max(1, args.width // 768),
        vocab_size=151936,
        tie_word_embeddings=True,
    )
    torch.set_default_dtype(torch.bfloat16)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder / "base", max_shard_size=args.shard)
    options = peft.LoraConfig(r=args.r, lora_alpha=2 * args.r, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, options)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    adapted.save_pretrained(folder / "adapter")


def _ask(side: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.merge", "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _side(side: str, folder: Path) -> dict[str, Any]:
    import peft
    from transformers import AutoModelForCausalLM

    from poem_build.export.merge import merge_weights

    base, adapter, target = folder / "base", folder / "adapter", folder / side
    target.mkdir()
    for path in base.glob("*.safetensors"):
        path.read_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _memory("VmRSS"), time.perf_counter()
    if side == "copy":
        for path in base.iterdir():
            shutil.copyfile(path, target / path.name)
    elif side == "ours":
        merge_weights(base, adapter, target)
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return {"seconds": time.perf_counter() - start, "peak_mb": (_memory("VmHWM") - before) / 1e6}


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _table(told: dict[str, dict[str, Any]], folder: Path) -> None:
    from poem_build.models import tensors

    places = tensors.places(folder / "base")
    size, largest = sum(place.size for place in places.values()) / 1e6, max(place.size for place in places.values())
    ours, theirs = tensors.places(folder / "ours"), tensors.places(folder / "peft")
    differing = sum(not all(a == b for a, b in zip(ours[n].blocks(), theirs[n].blocks(), strict=True)) for n in theirs)
    print(
        f"{size:.0f} MB in {len(places)} tensors, the largest of {largest / 1e6:.0f} MB; {differing} differ from peft's"
    )
    print(f"{'side':8} {'seconds':>8} {'MB/s':>7} {'copy is':>8} {'peak MB':>8} {'of the size':>12}")
    for side, one in told.items():
        print(
            f"{side:8} {one['seconds']:8.2f} {size / one['seconds']:7.0f}"
            f" {one['seconds'] / told['copy']['seconds']:7.1f}x {one['peak_mb']:8.0f} {one['peak_mb'] / size:12.0%}"
        )


if __name__ == "__main__":
    main()

"""Each way to train on a base of two layers: what it trains, what it leaves, and what merging makes of that."""

import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BloomConfig, GptOssConfig, MixtralConfig, Qwen2Config, Qwen2MoeConfig

from poem_build.errors import DatasetError, DeviceError, ModelFileError
from poem_build.export import merge
from poem_build.models import tensors
from poem_build.models.device import Device
from poem_build.models.family import family
from poem_build.models.likelihood import answer_losses, packed_losses
from poem_build.models.load import load_tokenizer
from poem_build.models.tokens import Tokens
from poem_build.recipe.schema import RECIPES, load_recipe, recipe_names
from poem_build.recipe.training import Train
from poem_build.train import dpo, launch, lora
from poem_build.train.preferences import read_preferences
from poem_build.train.protocol import Setup, Trained
from poem_build.train.quantized import quantization
from poem_build.train.targets import target_modules

pytestmark = pytest.mark.filterwarnings("ignore")  # what the libraries say of each other
SMALL: dict[str, Any] = {
    **{"vocab_size": 97, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2},
}
EXAMPLES = [Tokens(tuple(range(3, 12 + n)), tuple(range(5 + n, 20 + 3 * n))) for n in range(8)]
SPEC: dict[str, Any] = {
    **{"r": 4, "lora_alpha": 8, "learning_rate": 1e-2, "epochs": 2, "batch": 2, "evaluate_every": 4},
}
TINY = RECIPES / "tiny-base"
CPU = Device(kind="cpu", name="", dtype="float32", reason="")
LINEAR = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("base")
    AutoModelForCausalLM.from_config(Qwen2Config(**SMALL)).to(torch.bfloat16).save_pretrained(folder)
    return folder


def _setup(base: Path, folder: Path, **change: Any) -> Setup:
    return Setup(base, family("chatml"), Train(**(SPEC | change)), CPU, folder / "adapter", folder / "room")


def _train(setup: Setup) -> Trained:
    trained: Trained = importlib.import_module(f"poem_build.train.{setup.spec.method}").train(
        setup, EXAMPLES, EXAMPLES[:2]
    )
    assert trained.kept[1] < trained.valid[0][1] - 0.2
    return trained


def _merged(setup: Setup, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    merge.merge_weights(setup.base, setup.target, folder)
    return {name: place.whole() for name, place in tensors.places(folder).items()}


def test_full_trains_every_weight_and_merging_it_is_a_copy(base: Path, tmp_path: Path) -> None:
    setup = _setup(base, tmp_path, method="full", learning_rate=3e-3, r=8)
    trained = _train(setup)
    before, after = load_file(base / "model.safetensors"), load_file(setup.target / "model.safetensors")
    assert trained.trainable == sum(value.numel() for value in before.values())
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    assert all(not torch.equal(before[name], value) for name, value in after.items() if "norm" not in name)
    merged = _merged(setup, tmp_path / "merged")
    assert all(torch.equal(merged[name], value) for name, value in after.items())
    again = _setup(base, tmp_path / "again", method="full", learning_rate=3e-3, r=8)
    assert _train(again).train == trained.train


def test_qlora_trains_beside_four_bits_and_merges_onto_sixteen(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    setup = _setup(base, tmp_path, method="qlora")
    adapted = lora.adapt(setup)
    held = {type(module).__name__ for name, module in adapted.named_modules() if name.endswith("base_layer")}
    assert held == {"Linear4bit"}
    state = next(module for module in adapted.modules() if type(module).__name__ == "Linear4bit").weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)
    trained = _train(setup)
    assert trained.trainable == sum(p.numel() for p in load_file(setup.target / "adapter_model.safetensors").values())
    merged, before = _merged(setup, tmp_path / "merged"), load_file(base / "model.safetensors")
    changed = {name.split(".")[-2] for name, value in merged.items() if not torch.equal(before[name], value)}
    assert changed == set(LINEAR)


@pytest.mark.parametrize(("bits", "kernel"), [(4, "quantize_4bit"), (8, "int8_vectorwise_quant")])
def test_a_kernel_that_is_missing_is_told_before_a_weight_is_read(
    bits: Literal[4, 8], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quantization(bits, CPU) is not None

    def missing(*_: Any, **__: Any) -> None:
        raise RuntimeError("\nbitsandbytes was compiled without this device\nand more of it")

    monkeypatch.setattr(f"bitsandbytes.functional.{kernel}", missing)
    with pytest.raises(DeviceError) as caught:
        quantization(bits, CPU)
    assert str(caught.value) == (
        f"train.bits: {bits} bits need bitsandbytes with its kernel for cpu (bitsandbytes was compiled without this "
        "device); pip install -e '.[gpu]', or bits = 16"
    )


def test_activations_computed_anew_change_nothing(base: Path, tmp_path: Path) -> None:
    plain, anew = (
        _train(_setup(base, tmp_path / str(again), gradient_checkpointing=again)).train for again in (False, True)
    )
    assert anew == pytest.approx(plain, abs=1e-5)


def test_examples_in_one_row_have_the_loss_and_the_gradients_of_padded_ones(base: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    gradients = []
    for reckon in (answer_losses, packed_losses):
        model.zero_grad()
        losses, mask = reckon(model, EXAMPLES)
        (losses.sum() / mask.sum()).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    padded, packed = gradients
    for name, value in padded.items():
        torch.testing.assert_close(packed[name], value, atol=1e-5, rtol=1e-3)
    change: dict[str, Any] = {"batch": 4, "max_steps": 3, "learning_rate": 3e-2}
    plain, rows = (
        _train(_setup(base, tmp_path / str(packing), packing=packing, **change)).train for packing in (False, True)
    )
    assert rows == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize(
    "config",
    [GptOssConfig(**SMALL, num_local_experts=2, num_experts_per_tok=1), BloomConfig(vocab_size=97, hidden_size=64)],
)
def test_a_model_that_does_not_keep_examples_apart_is_refused_by_name(config: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    with pytest.raises(ModelFileError, match=rf"^train\.packing: {config.model_type} models see the other examples of"):
        _train(_setup(tmp_path / "base", tmp_path, packing=True))


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("preferences") / "pairs.jsonl"
    lines = (
        {"prompt": f"{n}枚の札", "chosen": "灯りがともる部屋。", "rejected": "です。最高です。"} for n in range(12)
    )
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return path


@pytest.mark.long
def test_dpo_learns_what_was_chosen(preferences: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    setup = _setup(TINY, tmp_path, method="dpo", preferences=preferences, max_steps=6)
    trained = _train(setup)
    assert trained.valid[0][1] == pytest.approx(math.log(2), abs=1e-4)
    assert (trained.steps.done, trained.steps.whole) == (6, 10)
    assert _train(setup).steps.resumed_at == 6
    base = load_file(TINY / "model.safetensors")
    assert any(not torch.equal(base[name], value) for name, value in _merged(setup, tmp_path / "merged").items())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "x", "chosen": "y"}', ":1: rejected: Field required; a line has prompt, chosen, rejected"),
        ("{", ":1: JSON: Invalid JSON: EOF while parsing an object at line 1 column 1; a line has prompt, chosen, re"),
        ('{"prompt": "x", "chosen": "y", "rejected": "y"}', ":1: rejected: is what was chosen; remove the line"),
        ('{"prompt": "x", "chosen": "y", "rejected": "z"}', ": holds 1 preferences; one to learn from and one to look"),
    ],
)
def test_a_line_that_is_no_preference_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(line, "utf-8")
    with pytest.raises(DatasetError) as caught:
        read_preferences(path, load_tokenizer(TINY), family("chatml"))
    assert str(caught.value).startswith(f"{path}{message}")


def test_only_a_line_feed_ends_a_preference(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "x\u2028x", "chosen": "y", "rejected": "z"}\n\n' * 2, "utf-8")
    assert len(read_preferences(path, load_tokenizer(TINY), family("chatml"))) == 2


def test_preferences_that_are_no_utf_8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes('{"prompt": "邸"'.encode("shift_jis"))
    with pytest.raises(DatasetError, match=r"pairs\.jsonl: byte 12 is not UTF-8; save the file as UTF-8$"):
        read_preferences(path, load_tokenizer(TINY), family("chatml"))


@pytest.mark.long
def test_two_processes_take_the_steps_of_one(base: Path, tmp_path: Path) -> None:
    change: dict[str, Any] = {
        "batch": 3,
        "max_steps": 3,
        "epochs": 1,
    }  # the last step has fewer examples than processes
    one = _train_anyhow(_setup(base, tmp_path / "one", **change))
    two = launch.train(_setup(base, tmp_path / "two", launch="ddp", **change), EXAMPLES[:7], EXAMPLES[:2])
    assert two.train == pytest.approx(one.train, abs=1e-5)
    assert dict(two.valid) == pytest.approx(dict(one.valid), abs=1e-5)
    mine, theirs = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(value, theirs[name], atol=1e-4) for name, value in mine.items())


def test_processes_are_told_all_that_one_is(preferences: Path, tmp_path: Path) -> None:
    setup = _setup(TINY, tmp_path, method="dpo", preferences=preferences, launch="ddp", checkpoint_s=1.5)
    told = launch.Work.of(setup, EXAMPLES[:2], EXAMPLES[2:3], 2).model_dump_json()
    read = launch.Work.model_validate_json(told)
    assert read.setup == replace(setup, processes=2)
    assert read.examples == (EXAMPLES[:2], EXAMPLES[2:3])


@pytest.mark.parametrize(
    ("batch", "micro_batch", "count", "found"),
    [(10, None, 1, (10, 1)), (10, 5, 1, (5, 2)), (10, 5, 2, (5, 1)), (8, None, 2, (4, 1)), (8, 8, 4, (2, 1))],
)
def test_dpo_takes_a_step_of_the_batch_in_any_number_of_processes(
    batch: int, micro_batch: int | None, count: int, found: tuple[int, int]
) -> None:
    assert launch.micro_batches(_preferring(batch=batch, micro_batch=micro_batch), count) == found


@pytest.mark.parametrize(
    ("batch", "micro_batch", "count", "told"),
    [
        (3, None, 2, "3 examples cannot be shared by 2 processes; give a multiple of 2"),
        (12, 4, 2, "12 examples cannot be shared by 2 processes in micro batches of 4; give a multiple of 8"),
        (2, 1, 4, "2 examples cannot be shared by 4 processes in micro batches of 1; give a multiple of 4"),
    ],
)
def test_a_step_of_dpo_that_processes_cannot_share_is_refused(
    batch: int, micro_batch: int | None, count: int, told: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        launch.micro_batches(_preferring(batch=batch, micro_batch=micro_batch), count)
    assert str(caught.value) == f"train.batch: dpo's {told}"


def _preferring(**change: Any) -> Train:
    return Train(**(SPEC | {"method": "dpo", "preferences": Path("pairs.jsonl")} | change))


@pytest.mark.long
def test_two_processes_learn_preferences_as_one_does(preferences: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    change: dict[str, Any] = {"method": "dpo", "preferences": preferences, "batch": 4, "micro_batch": 1}
    change |= {"max_steps": 2, "learning_rate": 1e-3}
    one = dpo.train(_setup(TINY, tmp_path / "one", **change), [], [])
    two = launch.train(_setup(TINY, tmp_path / "two", launch="ddp", **change), [], [])
    assert two.train == pytest.approx(one.train, abs=1e-4)
    assert dict(two.valid) == pytest.approx(dict(one.valid), abs=1e-4)


def test_processes_that_find_no_memory_say_so_and_others_their_first_error() -> None:
    spec = Train(**SPEC, launch="ddp")
    said = "Traceback:\n  raise Error\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
    full = launch.failure(spec, 1, said)
    assert isinstance(full, MemoryError)
    assert "Tried to allocate" in str(full)
    for said, told in (("warning\nValueError: no\nChildFailedError\n", "ValueError: no"), ("", "no word")):
        other = launch.failure(spec, 1, said)
        assert isinstance(other, DeviceError)
        assert str(other) == f"train.launch: ddp ended with status 1: {told}"


def _train_anyhow(setup: Setup) -> Trained:
    return lora.train(setup, EXAMPLES[:7], EXAMPLES[:2])


GPU = CPU.model_copy(update={"kind": "cuda"})


@pytest.mark.parametrize(
    ("launched", "offload"),
    [("zero2", "none"), ("zero2", "optimizer"), ("zero3", "none"), ("zero3", "optimizer"), ("zero3", "layers")],
)
def test_deepspeeds_settings_are_whole(launched: str, offload: str) -> None:
    """Read as accelerate reads them; DeepSpeed's own parser took them too (docs/log.md)."""
    spec = Train.model_validate({**SPEC, "launch": launched, "offload": offload})
    config = HfDeepSpeedConfig(str(_settings_of(spec)))
    assert (config.is_zero3(), config.is_offload()) == (launched == "zero3", offload != "none")
    assert bool(config.get_value("zero_optimization.offload_param.device")) == (offload == "layers")
    with pytest.raises(
        DeviceError, match=rf'train\.launch: {launched} needs GPUs, this is cpu; give launch = "single"'
    ):
        launch.command(spec, CPU, 2, Path("work.json"))


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_s_way_to_launch_has_its_files_and_moves_what_it_says(name: str) -> None:
    spec = load_recipe(name).train
    if spec is None:
        return
    launch.check_offload(spec, GPU)
    if spec.launch != "single":
        assert (launch.CONFIGS / f"{spec.launch}.yaml").is_file()
    if spec.launch.startswith("zero"):
        config = HfDeepSpeedConfig(str(_settings_of(spec)))
        assert bool(config.get_value("zero_optimization.offload_param.device")) == (spec.offload == "layers")


def _settings_of(spec: Train) -> Path:
    told = launch.command(spec, GPU, 2, Path("work.json"))
    return Path(told[told.index("--deepspeed_config_file") + 1])


def test_layers_that_nothing_would_move_are_refused() -> None:
    launch.check_offload(Train(**SPEC, offload="layers"), CPU)  # everything is in the processor's memory
    launch.check_offload(Train(**SPEC, offload="layers", launch="zero3"), GPU)
    with pytest.raises(DeviceError, match=r"^train\.offload: layers are moved by DeepSpeed alone; give launch = "):
        launch.check_offload(Train(**SPEC, offload="layers"), GPU)


def test_unsloth_without_its_gpu_is_refused_in_one_line(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"^train\.method: unsloth needs an NVIDIA GPU, this is cpu; "):
        _train(_setup(base, tmp_path, method="unsloth"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Qwen2Config(**SMALL), LINEAR),
        (MixtralConfig(**SMALL, num_local_experts=2, num_experts_per_tok=1), ["k_proj", "o_proj", "q_proj", "v_proj"]),
        (Qwen2MoeConfig(**SMALL, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=64), LINEAR),
    ],
)
def test_head_and_routers_are_left_out(config: Any, expected: list[str]) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert target_modules(model, family("chatml")) == expected

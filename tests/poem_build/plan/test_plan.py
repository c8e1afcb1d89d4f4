"""What a plan reckons, beside what files and runs here are; and what it says of what does not fit."""

import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner, Result
from transformers import BertConfig, CLIPTextConfig

from bench.memory import measured, peak
from poem.game import builtin_game
from poem_build.cli.main import cli
from poem_build.errors import DeviceError, PlanError
from poem_build.export.quantization import quantize_file
from poem_build.models import source
from poem_build.models.architectures import UNFAITHFUL
from poem_build.models.device import Device
from poem_build.models.shapes import of_gguf, shape_of
from poem_build.plan import memory, plan, sizes
from poem_build.plan.check import check_fetch, check_stage
from poem_build.plan.lengths import lengths_of
from poem_build.plan.licence import verdicts
from poem_build.plan.machine import Machine, machine_here
from poem_build.plan.machines import MACHINES, Work, load_machines, runs
from poem_build.plan.plan import nearer, training_of
from poem_build.recipe import presets
from poem_build.recipe.quantize import MIXTURES
from poem_build.recipe.schema import RECIPES, load_recipe, recipe_names
from poem_build.recipe.training import BITS_OF, Method, Train
from poem_build.train import launch
from poem_service.settings import Settings
from support.chain import changed
from support.tiny_gguf import write_tiny_gguf

GAME = builtin_game()
ROOMY = ["--vram", "1000", "--ram", "2000", "--disk", "5000"]
PHIMOE = f"PhimoeForCausalLM: {UNFAITHFUL['PhimoeForCausalLM']}"


def _plan(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["plan", *arguments])


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_has_a_plan_that_fits_where_there_is_room(name: str) -> None:
    done = _plan("--recipe", name, *ROOMY, "--json")
    told = json.loads(done.output)
    refused = [PHIMOE] if name == "phi-3.5-moe" else []
    assert done.exit_code == len(refused), done.output
    assert (told["fits"], told["lacks"], told["basis"]) == (not refused, refused, "computed")
    assert {one["stage"] for one in told["memory"]} >= {"convert", "quantize", "serve"}
    assert all(sum(one["parts"].values()) == one["bytes"] for one in told["memory"])
    assert all("unknown" not in one["ship"] for one in told["licences"]), told["licences"]
    assert [one["bytes"] for one in told["quantizations"]] == sorted(
        (one["bytes"] for one in told["quantizations"]), reverse=True
    )


@pytest.mark.parametrize("mixture", ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"])
def test_a_mixture_is_as_large_as_llama_cpp_makes_it(tmp_path: Path, mixture: str) -> None:
    source = write_tiny_gguf(tmp_path / "source.gguf", width=256, feed=512, layers=11)
    quantize_file(source, tmp_path / "made.gguf", mixture)
    words = (tmp_path / "made.gguf").stat().st_size - sizes.size(of_gguf(source), mixture)
    assert 0 < words < 80_000  # the vocabulary and the norms, which stay as they are


def test_the_published_sizes_of_larger_models_are_met() -> None:
    """Files of others on the hub, in GB: bartowski's of Llama 3.1 8B and 70B, and of Qwen 2.5 1.5B."""
    for name, size in (("llama-3.1-8b", 4.92), ("llama-3.1-70b", 42.52), ("qwen2.5-1.5b", 0.986)):
        shape = shape_of(load_recipe(name))
        assert shape is not None
        assert sizes.size(shape, "Q4_K_M") / 1e9 == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(
    ("name", "change", "card", "gpus"),
    [
        *((name, {}, 24, 1) for name in ("qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b", "qwen3-4b", "gemma-3-4b")),
        *((name, {}, 24, 1) for name in ("qwen2.5-7b", "qwen3-8b", "llama-3.1-8b", "elyza-llama2-7b", "gemma-2-9b")),
        ("qwen2.5-7b", {"method": "qlora", "bits": 4}, 24, 1),
        ("qwen2.5-14b", {}, 48, 1),
        ("qwen2.5-14b", {"method": "qlora", "bits": 4, "gradient_checkpointing": True}, 16, 1),
        *((name, {}, 48, 1) for name in ("calm3-22b", "qwen2.5-32b", "deepseek-r1-distill-qwen-32b-japanese")),
        ("gpt-oss-20b", {}, 48, 1),
        ("llama-3.1-70b", {"micro_batch": 1, "offload": "none"}, 80, 1),
        ("llama-3.1-70b", {"micro_batch": 1, "launch": "zero3", "offload": "none"}, 48, 2),
        ("mixtral-8x22b", {}, 24, 8),
    ],
)
def test_a_recipe_trains_on_the_card_that_people_train_its_like_on(
    name: str, change: dict[str, Any], card: int, gpus: int
) -> None:
    recipe = load_recipe(name)
    shape = shape_of(recipe)
    assert shape is not None
    given = recipe.train.model_dump() if recipe.train else presets.training(shape, {})
    recipe = recipe.model_copy(update={"train": Train.model_validate(given | {"preferences": None} | change)})
    how = training_of(recipe, lengths_of(recipe, GAME), gpu=True)
    assert how is not None
    (needed,) = (one for one in memory.training_needs(shape, how, "gpu", gpus) if one.place == "gpu")
    assert 0.4 * card < needed.total / 1e9 < 0.95 * card, dict(needed.parts)  # the rest is the allocator's


def test_what_does_not_fit_ends_with_one_and_names_the_nearest_that_does() -> None:
    done = _plan("--recipe", "qwen2.5-7b", "--vram", "16", "--ram", "64", "--disk", "200", "--json")
    told = json.loads(done.output)
    assert (done.exit_code, told["fits"]) == (1, False)
    assert told["lacks"][0].startswith("train takes ")
    assert "GB of GPU memory, 16 are there" in told["lacks"][0]
    assert told["nearest"] == "Nearest that fits: qwen2.5-7b with [train] gradient_checkpointing = true."
    bare = _plan("--recipe", "qwen2.5-72b", "--vram", "24", "--ram", "400", "--disk", "500")
    assert bare.exit_code == 1
    assert "does not fit: serve takes 48.3 GB of GPU memory, 24 are there. Nearest that fits: " in bare.output
    none = _plan("--recipe", "tiny", "--vram", "0.01", "--ram", "64", "--disk", "200")
    assert none.output.endswith("GB of GPU memory, 0.01 are there. Nearest that fits: tiny with --device cpu.\n")
    assert _plan("--recipe", "tiny", "--vram", "0.01", "--ram", "64", "--disk", "200", "--device", "cpu").exit_code == 0
    other = _plan("--recipe", "gemma-3-270m", "--vram", "0", "--ram", "0.99", "--disk", "200")
    assert other.output.endswith(" 0.99 are there. No recipe fits.\n")
    card = _plan("--recipe", "qwen2.5-3b", "--vram", "1", "--ram", "8", "--disk", "200")
    assert card.output.endswith(" 1 are there. No recipe fits; for this one the RTX 3090 would do.\n")


@pytest.mark.parametrize("vram", ["0", "48"])
def test_an_importance_matrix_that_does_not_fit_is_named_to_be_left_out(vram: str, tmp_path: Path) -> None:
    machine = ["--vram", vram, "--ram", "64", "--disk", "400"]
    told = json.loads(_plan("--recipe", "llama-3.1-70b", *machine, "--json").output)
    assert told["lacks"] == ["quantize takes 284 GB of memory, 64 are there"]
    assert told["nearest"] == "Nearest that fits: llama-3.1-70b with [quantize] imatrix = false."
    unweighed, bound = tmp_path / "unweighed.toml", tmp_path / "bound.toml"
    text = (RECIPES / "llama-3.1-70b.toml").read_text("utf-8")
    unweighed.write_text(f"{text}\n[quantize]\nimatrix = false\n", "utf-8")
    assert _plan("--recipe", str(unweighed), *machine).exit_code == 0
    bound.write_text(f'{text}\n[quantize]\ntypes = ["IQ2_M"]\n', "utf-8")  # llama.cpp makes it by a matrix only
    assert "imatrix" not in json.loads(_plan("--recipe", str(bound), *machine, "--json").output)["nearest"]


def test_what_the_chain_refuses_is_no_nearest() -> None:
    larger = _plan("--recipe", "mixtral-8x22b", "--vram", "48", "--ram", "256", "--disk", "600", "--json")
    assert json.loads(larger.output)["nearest"] == "Nearest that fits: qwen2.5-32b."


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('method = "unsloth"', "train.method: unsloth needs an NVIDIA GPU; qlora and lora do not"),
        ('launch = "zero3"', 'train.launch: zero3 needs GPUs; give launch = "single"'),
    ],
)
def test_what_is_a_gpu_s_alone_is_refused_without_one(change: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    text = (RECIPES / "qwen2.5-0.5b.toml").read_text("utf-8")
    path.write_text(text.replace("[train]\n", f"[train]\n{change}\n"), "utf-8")
    alone = _plan("--recipe", str(path), "--vram", "0", *ROOMY[2:], "--json")
    assert (alone.exit_code, json.loads(alone.output)["lacks"]) == (1, [told])
    assert json.loads(alone.output)["nearest"] == "Nearest that fits: gemma-3-270m."
    assert _plan("--recipe", str(path), *ROOMY).exit_code == 0


def test_layers_that_nothing_would_move_are_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    text = (RECIPES / "qwen2.5-0.5b.toml").read_text("utf-8")
    path.write_text(text.replace("[train]\n", '[train]\nlaunch = "single"\noffload = "layers"\n'), "utf-8")
    spec = load_recipe(str(path)).train
    assert spec is not None
    with pytest.raises(DeviceError) as caught:
        launch.check_offload(spec, Device(kind="cuda", name="", dtype="bfloat16", reason=""))
    assert json.loads(_plan("--recipe", str(path), *ROOMY, "--json").output)["lacks"] == [str(caught.value)]
    assert _plan("--recipe", str(path), "--vram", "0", *ROOMY[2:]).exit_code == 0  # all is in its memory


@pytest.mark.parametrize("config", [BertConfig, CLIPTextConfig])
def test_a_folder_that_holds_no_model_that_writes_does_not_fit(config: Any, tmp_path: Path) -> None:
    one = config()
    one.architectures = [config.__name__.removesuffix("Config") + "Model"]
    one.save_pretrained(tmp_path)
    done = _plan("--recipe", "qwen2.5-0.5b", "--base", str(tmp_path), *ROOMY, "--json")
    assert done.exit_code == 1, done.output
    told = json.loads(done.output)
    assert f"{one.architectures[0]}: is no causal language model" in told["lacks"][0]


@pytest.mark.parametrize("place", get_args(memory.Place))
@pytest.mark.parametrize("method", get_args(Method))
def test_what_is_named_as_nearest_is_taken_by_the_recipe(method: Method, place: memory.Place) -> None:
    how = memory.Training(method, max(BITS_OF[method]), 2, 8, False, 8, False, "none", 1000, 300)
    given: dict[str, Any] = {"method": method, "bits": how.bits, "learning_rate": 1e-4, "epochs": 1, "batch": 8}
    given |= {"preferences": "preferences.jsonl"} if method == "dpo" else {}
    found = list(nearer(how, place))
    for text, now in found:
        train = Train.model_validate(given | tomllib.loads(text.replace(", ", "\n")))
        assert (train.method, train.weight_bits) == (now.method, now.bits)
    assert found[-1][1].bits == 4
    assert any(now.bits == 8 for _, now in found) == (place == "gpu" and method in ("lora", "full", "dpo"))


def test_a_gpu_is_planned_for_in_the_recipe_s_number_format(tmp_path: Path) -> None:
    recipe = load_recipe("qwen2.5-7b")
    shape = shape_of(recipe)
    assert shape is not None
    path = tmp_path / "wide.toml"
    text = (RECIPES / "qwen2.5-7b.toml").read_text("utf-8")
    path.write_text(text.replace("[train]\n", '[train]\nbits = 16\ndtype = "float32"\n'), "utf-8")
    told = json.loads(_plan("--recipe", str(path), *ROOMY, "--json").output)["memory"]
    planned = {(one["stage"], one["place"]): one["parts"] for one in told}
    assert planned["train", "gpu"]["base"] == 4 * shape.parameters
    assert {stage for stage, place in planned if place == "gpu"} == {"train", "quantize", "fidelity", "serve"}
    for one, number in ((recipe, 4), (changed(recipe, "train", dtype="bfloat16"), 2)):
        how = training_of(one, lengths_of(one, GAME), gpu=True, native="float32")  # an old GPU's
        assert how is not None
        assert how.number == number


def test_a_disk_that_is_too_small_is_told() -> None:
    done = _plan("--recipe", "tiny", "--ram", "8", "--vram", "8", "--disk", "0.001")
    assert done.exit_code == 1
    assert "does not fit: its files take 0.0614 GB of disk, 0.001 are there. No recipe fits." in done.output


def test_every_checkpoint_has_its_room_on_disk() -> None:
    recipe = load_recipe("qwen2.5-7b")
    shape = shape_of(recipe)
    how = training_of(recipe, lengths_of(recipe, GAME), gpu=True)
    assert shape is not None
    assert how is not None
    kept = plan.disk_of(recipe, shape, how) - plan.disk_of(recipe, shape, None)
    assert kept == plan.CHECKPOINTS * 3 * 4 * shape.adapter_parameters(how.r)  # a weight and what AdamW keeps of it


def test_every_mixture_has_its_own_size_on_disk(tmp_path: Path) -> None:
    recipe = load_recipe("tiny")
    shape = shape_of(recipe)
    assert shape is not None
    taken = {}
    for mixture in ("F16", "Q5_0", "IQ4_NL"):
        many = changed(recipe, "quantize", types=(mixture,))
        taken[mixture] = plan.disk_of(many, shape, None) - plan.disk_of(recipe, shape, None)
    assert taken == {kind: round(shape.parameters * MIXTURES[kind] / 8) for kind in taken}


def test_each_teacher_that_wrote_the_poems_has_its_own_terms(tmp_path: Path) -> None:
    (tmp_path / "teacher.json").write_text('{"teacher": "composer+files+gemini"}', "utf-8")
    done = _plan("--recipe", "tiny", "--taught", str(tmp_path), *ROOMY, "--json")
    found = {one["terms"]: one["ship"] for one in json.loads(done.output)["licences"] if one["of"] == "teacher"}
    assert found == {
        "composer": "yes",
        "files": "unknown: ask whoever wrote the answers",
        "gemini": "unknown: its terms forbid models that compete with the service; read them",
    }
    (tmp_path / "teacher.json").write_text("{}", "utf-8")
    done = _plan("--recipe", "tiny", "--taught", str(tmp_path), *ROOMY)
    assert done.output.endswith("/teacher.json: not there or damaged; `poem-build teacher run` makes it\n")


def test_terms_that_nobody_wrote_down_come_with_what_would_make_them_known(tmp_path: Path) -> None:
    for given, ship, name in (
        ("MIT-0", "unknown: licences.toml has no MIT-0", "read its text, then add it to licences.toml"),
        (None, "unknown: the base tells none", "ask its maker, then write `license` at the head of its README.md"),
    ):
        if given:
            (tmp_path / "README.md").write_text(f"---\nlicense: {given}\n---\n", "utf-8")
        else:
            (tmp_path / "README.md").unlink()
        recipe = source.override(load_recipe("tiny"), str(tmp_path))
        (verdict,) = verdicts(recipe)
        assert (verdict.ship, verdict.sell, verdict.name) == (ship, ship, name)
    (verdict,) = verdicts(source.override(load_recipe("tiny"), "somebody/model@main"))
    assert verdict.name == "`poem-build base` fetches the model, and its card tells"


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("option", ["--vram", "--ram", "--disk"])
def test_a_machine_s_memory_is_a_number(option: str, value: str) -> None:
    done = _plan("--recipe", "tiny", option, value)
    assert done.exit_code == 2
    assert f"Invalid value for '{option}': '{value}' is not allowed; give GB from 0" in done.output


@pytest.mark.parametrize(
    ("vram", "place", "part", "size"),
    [
        (36, "gpu", "model in float32", 32.5),
        (24, "gpu", "model in bfloat16", 17.2),
        (12, "ram", "model in float32", 31.7),
        (0, "ram", "model in float32", 31.7),
    ],
)
def test_a_model_is_asked_where_it_has_room(vram: int, place: str, part: str, size: float) -> None:
    done = _plan("--recipe", "qwen2.5-7b", "--vram", str(vram), *ROOMY[2:], "--json")
    needed = {one["stage"]: one for one in json.loads(done.output)["memory"]}
    for stage in ("quantize", "fidelity"):
        assert (needed[stage]["place"], part in needed[stage]["parts"]) == (place, True)
        assert needed[stage]["bytes"] / 1e9 == pytest.approx(size, rel=0.05)
        assert vram == 12 or needed[stage]["bytes"] < vram * 1e9 or place == "ram"


def test_a_gguf_in_a_mixture_that_the_chain_refuses_is_refused(tmp_path: Path) -> None:
    whole, given = write_tiny_gguf(tmp_path / "whole.gguf", width=256, feed=512, layers=11), tmp_path / "given.gguf"
    quantize_file(whole, given, "Q8_0")
    told = json.loads(_plan("--recipe", "llama-3.1-70b", "--base", str(given), *ROOMY, "--json").output)
    assert told["lacks"] == [f"{given}: is Q8_0; give one in Q4_K_M, which is taken as it is, or in F16"]


@pytest.mark.parametrize("mixture", ["Q4_K_M", "F16"])
def test_a_gguf_that_is_served_as_it_is_takes_no_more_than_its_copy(tmp_path: Path, mixture: str) -> None:
    whole, given = write_tiny_gguf(tmp_path / "whole.gguf", width=256, feed=512, layers=11), tmp_path / "given.gguf"
    quantize_file(whole, given, mixture)
    done = _plan("--recipe", "llama-3.1-70b", "--base", str(given), *ROOMY, "--json")
    told = json.loads(done.output)
    taken = {one["stage"]: one["parts"] for one in told["memory"]}
    copied = {"libraries": memory.LIBRARIES}
    assert list(taken) == ["quantize", "serve"]
    assert (taken["quantize"] == copied) == (mixture == "Q4_K_M")
    sized = {one["mixture"]: one["bytes"] for one in told["quantizations"]}
    assert told["disk_bytes"] == sized["Q4_K_M"] + (0 if mixture == "Q4_K_M" else sized["F16"])


def test_a_gguf_that_is_trained_on_is_dequantized_as_a_whole(tmp_path: Path) -> None:
    given = write_tiny_gguf(tmp_path / "given.gguf", width=256, feed=512, layers=11)
    recipe, shape = source.override(load_recipe("qwen2.5-0.5b"), str(given)), of_gguf(given)
    told = json.loads(_plan("--recipe", "qwen2.5-0.5b", "--base", str(given), *ROOMY, "--json").output)
    (base,) = (one for one in told["memory"] if one["stage"] == "base")
    assert base["parts"]["model in bfloat16"] == 2 * shape.parameters
    largest = max(matrix.rows * matrix.columns for matrix in shape.matrices)
    assert (base["place"], base["parts"]["a matrix"]) == ("ram", 4 * largest)
    check_stage(recipe, GAME, "base", tmp_path)
    vast = write_tiny_gguf(tmp_path / "vast.gguf", width=512, feed=1024, told_layers=100_000)
    with pytest.raises(PlanError, match=r"recipe qwen2\.5-0\.5b: base takes \S+ GB of memory"):
        check_stage(source.override(recipe, str(vast)), GAME, "base", tmp_path)


def test_an_adapter_that_is_served_unmerged_is_weighed_by_no_matrix() -> None:
    needed = {}
    for arguments in ([], ["--unmerged"]):
        told = json.loads(_plan("--recipe", "qwen2.5-7b", *arguments, *ROOMY, "--json").output)
        needed[len(arguments)] = next(one["bytes"] for one in told["memory"] if one["stage"] == "quantize")
    assert needed[1] < needed[0] / 5


def test_a_stage_is_checked_before_it_runs(tmp_path: Path) -> None:
    check_stage(load_recipe("tiny"), GAME, "train", tmp_path)
    vast = changed(load_recipe("llama-3.1-8b"), "shape", layers=100_000)
    for stage in ("train", "quantize", "fidelity", "register"):
        with pytest.raises(
            PlanError, match=r"recipe llama-3\.1-8b: .* takes \S+ GB of memory, .* there; `poem-build plan` names"
        ):
            check_stage(vast, GAME, stage, tmp_path)
    check_stage(vast, GAME, "merge", tmp_path)  # which streams


def test_a_stage_on_a_base_that_was_fetched_is_checked_by_its_own_shape(tmp_path: Path) -> None:
    recipe = source.override(load_recipe("qwen2.5-0.5b"), "somebody/vast")
    check_stage(recipe, GAME, "train", tmp_path)  # nothing tells how large it is
    base = shutil.copytree(RECIPES / "tiny-base", tmp_path / "base")
    config = json.loads((base / "config.json").read_text("utf-8"))
    vast = config | {"num_hidden_layers": 100_000, "layer_types": None}
    (base / "config.json").write_text(json.dumps(vast), "utf-8")
    check_stage(recipe, GAME, "train", tmp_path)  # it is another's
    manifest = json.loads((base / "artifact.json").read_text("utf-8"))
    manifest["report"] = {"source": "somebody/vast@main"}
    (base / "artifact.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(PlanError, match=r"recipe qwen2\.5-0\.5b: train takes \S+ GB of memory"):
        check_stage(recipe, GAME, "train", tmp_path)


def test_before_a_fetch_all_that_follows_it_is_checked(tmp_path: Path) -> None:
    recipe = load_recipe("tiny")
    shape = shape_of(recipe)
    assert shape is not None
    check_fetch(recipe, GAME, shape, ["train", "convert"], tmp_path, 10**6)
    with pytest.raises(PlanError, match=r"recipe tiny: its files take 1e\+06 GB of disk, \S+ are there; `poem-build"):
        check_fetch(recipe, GAME, shape, ["train"], tmp_path, 10**15)
    vast = shape.model_copy(update={"layers": 100_000})
    with pytest.raises(PlanError, match="recipe tiny: train takes"):
        check_fetch(recipe, GAME, vast, ["train", "convert"], tmp_path, 0)
    unsloth = changed(recipe, "train", method="unsloth")
    check_fetch(unsloth, GAME, shape, ["convert"], tmp_path, 0)  # where an adapter is given nothing is trained
    if machine_here(tmp_path, load_recipe("tiny")).vram is None:
        with pytest.raises(PlanError, match=r"recipe tiny: train\.method: unsloth needs an NVIDIA GPU"):
            check_fetch(unsloth, GAME, shape, ["train"], tmp_path, 0)


def test_time_and_money_follow_from_the_list() -> None:
    machines = load_machines()
    room = {"train": 40 * 10**9, "weigh": 20 * 10**9, "serve": 10**9}
    work = Work(train=3600e12 * machines.efficiency, weigh=121e12 * machines.efficiency, read=864e9)
    found = {run.gpu: run for run in runs(machines, work, room, cores=2)}
    l40s, l4 = found["L40S"], found["L4"]
    assert (l40s.fits, l4.fits) == (True, False)
    assert l40s.hours == pytest.approx(1 / machines.gpus["L40S"].tflops)  # type: ignore[operator]
    assert l40s.usd == pytest.approx(1.40 / machines.gpus["L40S"].tflops)  # type: ignore[operator]
    assert l40s.poem_s == pytest.approx(1.0)
    assert (l4.hours, l4.usd) == (None, None)  # it has no room
    assert [l4.weigh_s, l4.poem_s] == pytest.approx([1.0, 2.88])
    assert found["MI300X"].usd is None  # nobody at hand tells its price
    assert all(gpu.source and gpu.dated for gpu in machines.gpus.values())
    small = replace(work, train=1.0, passes=3600 / machines.pass_s)  # a GPU waits for who starts its kernels
    assert [run.hours for run in runs(machines, small, room, cores=2) if run.fits] == pytest.approx([1.0] * 6)
    shared = {run.gpu: run for run in runs(machines, work, room, cores=2, trained_on=4)}["L40S"]
    assert [4 * shared.hours, shared.usd, shared.poem_s] == pytest.approx([l40s.hours, l40s.usd, l40s.poem_s])  # type: ignore[operator]
    untold = machines.gpus["L40S"].model_copy(update={"tflops": None, "bandwidth": None})
    (run,) = runs(machines.model_copy(update={"gpus": {"one": untold}}), work, room, cores=2)
    assert (run.hours, run.usd, run.weigh_s, run.poem_s) == (None, None, None, None)


def _seconds(*arguments: str) -> dict[str, float]:
    told = json.loads(_plan(*arguments, "--cores", "2", *ROOMY[2:], "--json").output)["processor"]
    assert told["cores"] == 2
    return dict(told["seconds"])


@pytest.mark.parametrize(("name", "minutes"), [("qwen2.5-coder-1.5b", 14), ("gemma-3-270m", 3.5)])
def test_weighing_and_rounding_take_what_they_were_seen_to_take(name: str, minutes: float) -> None:
    """On two cores that other work shared (docs/log.md), so within a factor of two."""
    taken = _seconds("--recipe", name, "--vram", "0")
    assert minutes / 2 < (taken["imatrix"] + taken["quantize"]) / 60 < minutes * 2


def test_a_plan_tells_what_the_importance_matrix_takes_where_it_is_reckoned(tmp_path: Path) -> None:
    half, none = tmp_path / "half.toml", tmp_path / "none.toml"
    text = (RECIPES / "qwen2.5-1.5b.toml").read_text("utf-8")
    half.write_text(f"{text}\n[quantize]\ntexts = 32\n", "utf-8")
    none.write_text(f'{text}\n[quantize]\nimatrix = false\ntypes = ["Q6_K"]\n', "utf-8")
    alone = _seconds("--recipe", "qwen2.5-1.5b", "--vram", "0")
    assert set(alone) == {"train", "imatrix", "quantize", "poem"}
    assert _seconds("--recipe", str(half), "--vram", "0")["imatrix"] == pytest.approx(alone["imatrix"] / 2)
    without = _seconds("--recipe", str(none), "--vram", "0")
    assert "imatrix" not in without
    assert without["quantize"] == pytest.approx(2 * alone["quantize"])
    assert "imatrix" not in _seconds("--recipe", "qwen2.5-1.5b", "--unmerged", "--vram", "0")
    assert set(_seconds("--recipe", "qwen2.5-1.5b", "--vram", "24")) == {"quantize"}
    assert set(_seconds("--recipe", "llama-3.1-70b", "--vram", "48")) == {"imatrix", "quantize"}  # it has no room there

    cards = {one["gpu"]: one for one in json.loads(_plan("--recipe", "qwen2.5-14b", *ROOMY, "--json").output)["gpus"]}
    assert (cards["L4"]["weigh_s"], cards["L4"]["hours"]) == (None, None)
    assert 0 < cards["L40S"]["weigh_s"] < 3600


def test_the_terminal_shows_the_times_and_which_settings_save_them() -> None:
    shown = _plan("--recipe", "qwen2.5-coder-1.5b", "--vram", "0", "--cores", "2", *ROOMY[2:]).output
    assert "| on the processor, 2 cores | takes |" in shown
    assert re.search(r"\| the importance matrix, 64 texts \| 1\d min \|", shown)
    assert re.search(r"\| quantizing \| \d+ s \|", shown)
    assert re.search(r"matrix: `\[quantize\] texts = \d\d` \(10 min\) or `\[quantize\] imatrix = false`\.", shown)
    waits = f"A service waits {Settings().deadline_s:g} s for a poem (POEM_DEADLINE_S)"
    assert waits not in shown
    assert waits in _plan("--recipe", "qwen2.5-14b", "--vram", "0", "--cores", "2", *ROOMY[2:]).output
    tiny = _plan("--recipe", "tiny", "--vram", "0", "--cores", "2", *ROOMY[2:]).output
    assert "[quantize]" not in tiny  # a matter of seconds
    assert tiny.startswith("tiny: 4.7M parameters, ")
    served = _plan("--recipe", "llama-3.1-70b", *ROOMY).output
    assert "tuning service" not in served  # nothing is trained
    assert "$" not in served


def test_a_training_that_ends_early_takes_less(tmp_path: Path) -> None:
    short = tmp_path / "short.toml"
    text = (RECIPES / "qwen2.5-1.5b.toml").read_text("utf-8")
    short.write_text(text.replace("[train]\n", "[train]\nbatch = 4\nmax_steps = 10\n"), "utf-8")
    told = [json.loads(_plan("--recipe", name, *ROOMY, "--json").output) for name in (str(short), "qwen2.5-1.5b")]
    assert told[0]["trained_tokens"] == 40 * lengths_of(load_recipe("qwen2.5-1.5b"), GAME).example
    assert told[0]["gpus"][0]["hours"] < told[1]["gpus"][0]["hours"] / 50


def test_several_gpus_share_the_training_where_the_recipe_starts_them(tmp_path: Path) -> None:
    shared = tmp_path / "shared.toml"
    text = (RECIPES / "qwen2.5-7b.toml").read_text("utf-8")
    shared.write_text(text.replace("[train]\n", '[train]\nlaunch = "ddp"\n'), "utf-8")
    asked = ("--vram", "80", "--gpus", "4", *ROOMY[2:])
    alone, four = (_plan("--recipe", name, *asked).output for name in ("qwen2.5-7b", str(shared)))
    assert 'One of the 4 GPUs trains; all do with [train] launch = "ddp", "zero2" or "zero3".' in alone
    assert "Training and its price are of 4 such GPUs; what they tell each other is not counted." in four
    told = [json.loads(_plan("--recipe", name, *asked, "--json").output) for name in ("qwen2.5-7b", str(shared))]
    hours, dollars = zip(*((one["gpus"][-1]["hours"], one["gpus"][-1]["usd"]) for one in told), strict=True)
    assert hours[0] == pytest.approx(4 * hours[1])
    assert dollars[0] == pytest.approx(dollars[1])


def test_an_adapter_that_was_trained_before_is_not_trained_again(tmp_path: Path) -> None:
    told = json.loads(_plan("--recipe", "qwen2.5-7b", "--adapter", str(tmp_path), *ROOMY, "--json").output)
    assert [one["stage"] for one in told["memory"]] == ["merge", "convert", "quantize", "fidelity", "serve"]
    assert (told["trained_tokens"], {one["hours"] for one in told["gpus"]}) == (0, {None})
    alone = ("--recipe", "mixtral-8x22b", "--vram", "0", *ROOMY[2:], "--json")
    refused = [json.loads(_plan(*alone, *given).output)["lacks"] for given in ((), ("--adapter", str(tmp_path)))]
    assert refused == [['train.launch: zero3 needs GPUs; give launch = "single"'], []]


def test_a_list_that_is_no_good_names_the_field(tmp_path: Path) -> None:
    bad = tmp_path / "machines.toml"
    bad.write_text(MACHINES.read_text("utf-8").replace("memory = 24", "memory = -1", 1), "utf-8")
    done = _plan("--machines", str(bad))
    assert done.output.startswith(f"Error: {bad}: gpus.RTX 3090.memory: ")


def test_less_bits_less_at_once_and_checkpoints_take_less() -> None:
    recipe = load_recipe("qwen2.5-7b")
    shape = shape_of(recipe)
    assert shape is not None
    lengths = lengths_of(recipe, GAME)
    how = memory.Training("lora", 16, 2, 16, True, 8, False, "none", lengths.example, lengths.answer)
    totals = [
        memory.training_needs(shape, one, "gpu")[0].total
        for one in (
            how,
            replace(how, micro_batch=1),
            replace(how, micro_batch=1, gradient_checkpointing=True),
            replace(how, micro_batch=1, gradient_checkpointing=True, bits=8),
            replace(how, micro_batch=1, gradient_checkpointing=True, bits=4),
        )
    ]
    assert totals == sorted(totals, reverse=True)
    away = memory.training_needs(shape, replace(how, offload="optimizer"), "gpu")
    assert away[0].total < totals[0]
    assert "optimizer, offloaded" in away[1].parts
    assert Machine(None, 1e9, 1e9).lacks(away, 0)[0].startswith("train takes ")


def test_a_command_s_peak_is_its_own_and_not_that_of_who_started_it() -> None:
    ours = bytes(range(256)) * 2_000_000
    assert peak(["--version"]) < len(ours) / 2


@pytest.mark.long
def test_what_is_reckoned_is_within_fifteen_percent_of_the_peaks_here(tmp_path: Path) -> None:
    if machine_here(tmp_path, load_recipe("tiny")).vram is not None:
        pytest.skip("trains on a GPU")
    for stage, (taken, computed) in measured("tiny", 2, tmp_path).items():
        assert computed == pytest.approx(taken, rel=0.15), stage

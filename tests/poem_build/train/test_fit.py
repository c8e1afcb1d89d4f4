"""Training on a model of two layers: what is in a checkpoint, when it stops, what it keeps."""

import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from poem_build.errors import GateError
from poem_build.models.device import Device
from poem_build.models.tokens import Tokens
from poem_build.plan.plan import CHECKPOINTS
from poem_build.recipe.training import Train
from poem_build.train import checkpoints
from poem_build.train.batches import plan
from poem_build.train.fit import Fit
from poem_build.train.loop import mean_loss, trainer

EXAMPLES = [Tokens(tuple(range(3, 12 + n)), tuple(range(5 + n, 20 + 3 * n))) for n in range(12)]
HELD_OUT = [Tokens(tuple(range(4, 20)), tuple(range(7, 15)))]
SPEC: dict[str, Any] = {
    **{"r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "learning_rate": 1e-2, "weight_decay": 0.1},
    **{"epochs": 3, "batch": 2, "evaluate_every": 3},
}
STEPS = 18
CPU = Device(kind="cpu", name="", dtype="float32", reason="")


def _model(dropout: float) -> Any:
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = AutoModelForCausalLM.from_config(config)
    return peft.get_peft_model(
        model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=dropout, target_modules="all-linear")
    )


def _fit(**change: Any) -> Fit:
    spec = Train(**(SPEC | change))
    return Fit(_model(spec.lora_dropout), EXAMPLES, HELD_OUT, spec, CPU)


def _run(folder: Path, **change: Any) -> Fit:
    fit = _fit(**change)
    fit.run(folder)
    return fit


def _trained(fit: Fit) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in fit.model.named_parameters() if p.requires_grad}


def _adapter(fit: Fit) -> dict[str, bytes]:
    return {name: p.numpy().tobytes() for name, p in _trained(fit).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    return _run(tmp_path_factory.mktemp("whole"))


def _killed_after(folder: Path, step: int) -> None:
    """A training that dies in the step after that one."""
    fit, begun = _fit(checkpoint_s=0), 0

    def count(model: Any, *_: Any) -> None:
        nonlocal begun
        begun += model.training
        if begun > step:
            raise KeyboardInterrupt

    fit.model.register_forward_pre_hook(count)
    with pytest.raises(KeyboardInterrupt):
        fit.run(folder)
    torch.manual_seed(99)  # whatever the next process did before it goes on


@pytest.mark.parametrize("step", [1, 3, 8])
def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path, whole: Fit, step: int) -> None:
    _killed_after(tmp_path, step)
    again = _run(tmp_path)
    assert again.resumed_at == step
    assert _adapter(again) == _adapter(whole)
    assert (again.train, again.valid, again.kept) == (whole.train, whole.valid, whole.kept)


def test_what_is_killed_after_its_end_has_only_to_be_read(tmp_path: Path) -> None:
    """Patience ends before the plan does; the best step is taken from its checkpoint both times."""
    change: dict[str, Any] = {"patience": 2, "epochs": 40, "lora_dropout": 0.0}
    before, again = _run(tmp_path, **change), _run(tmp_path, **change)
    assert again.resumed_at == before.step < len(again.plan)
    assert _adapter(again) == _adapter(before)
    assert (again.train, again.valid, again.kept) == (before.train, before.valid, before.kept)


@pytest.mark.parametrize("name", ["rng_state.pth", "optimizer.pt", "scheduler.pt", "adapter_model.safetensors"])
def test_every_part_of_a_checkpoint_is_needed(tmp_path: Path, whole: Fit, name: str) -> None:
    """The test above would fail if any part of the state were left out."""
    _killed_after(tmp_path, 8)
    shutil.copy(tmp_path / "checkpoint-7" / name, tmp_path / "checkpoint-8" / name)
    checkpoints.seal(tmp_path, 8)
    again = _run(tmp_path)
    assert (again.resumed_at, again.step) == (8, STEPS)
    assert again.train != whole.train


def test_as_many_checkpoints_lie_there_at_once_as_the_plan_has_room_for(tmp_path: Path) -> None:
    fit, there = _fit(checkpoint_s=0), []
    save = fit.model.save_pretrained

    def counted(*arguments: Any, **more: Any) -> None:
        save(*arguments, **more)
        there.append(len(list(tmp_path.glob("checkpoint-*"))))

    fit.model.save_pretrained = counted
    fit.run(tmp_path)
    assert max(there) == CHECKPOINTS


def test_a_checkpoint_that_is_damaged_or_not_sealed_is_passed_over(tmp_path: Path, whole: Fit) -> None:
    _killed_after(tmp_path, 8)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"checkpoint-{step}" for step in (3, 7, 8)),  # the best of those that were looked at, and the last two
        *(f"seal-{step}.json" for step in (3, 7, 8)),
    }
    (tmp_path / "seal-8.json").unlink()
    weights = tmp_path / "checkpoint-7" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0x10
    weights.write_bytes(content)
    again = _run(tmp_path)
    assert (again.resumed_at, _adapter(again)) == (3, _adapter(whole))
    for path in tmp_path.glob("seal-*"):
        path.write_bytes(b"")
    assert checkpoints.latest(tmp_path) is None


def test_the_best_adapter_is_kept_and_training_stops_when_patience_ends(tmp_path: Path) -> None:
    """The held-out answer is none of the examples', so its loss rises once they are learnt by heart."""
    fit = _run(tmp_path, patience=2, epochs=40, lora_dropout=0.0)
    step, loss = fit.kept
    assert 0 < step < fit.step < len(fit.plan)
    assert fit.step == step + 2 * 3
    assert loss == min(seen for at, seen in fit.valid if at)
    assert mean_loss(fit.model, HELD_OUT, 2) == loss


def test_without_looks_the_last_step_is_kept(tmp_path: Path) -> None:
    fit = _run(tmp_path, evaluate_every=0)
    assert [step for step, _ in fit.valid] == [0, STEPS]
    assert fit.kept == (STEPS, mean_loss(fit.model, HELD_OUT, 2))


def _first_step(folder: Path, **change: Any) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """What is logged of a step on weights that are far from nothing, and the gradients that it is taken by."""
    fit = _fit(max_steps=1, lora_dropout=0.0, **change)
    for name, parameter in _trained(fit).items():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    fit.model.get_output_embeddings().weight.data.mul_(20)  # as sure of itself as a model that has learnt something
    loop = trainer(fit, folder, resumed=False)
    gradients: dict[str, torch.Tensor] = {}

    def note(*_: Any) -> None:
        gradients.update({name: p.grad.clone() for name, p in fit.model.named_parameters() if p.grad is not None})

    loop.create_optimizer().register_step_pre_hook(note)
    loop.train()
    return next(entry for entry in loop.state.log_history if "loss" in entry), gradients


def test_parts_of_a_batch_add_up_to_it(tmp_path: Path) -> None:
    (whole, its), (parts, theirs) = (_first_step(tmp_path, batch=5, micro_batch=size) for size in (None, 2))
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    for name, gradient in its.items():
        assert torch.allclose(gradient, theirs[name], rtol=1e-3, atol=1e-6), name


def test_gradients_are_clipped_to_a_norm_of_one(tmp_path: Path) -> None:
    step, gradients = _first_step(tmp_path)
    assert step["grad_norm"] > 2
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert float(norm) == pytest.approx(1.0, rel=1e-3)


def test_max_steps_ends_the_plan_and_the_learning_rate_with_it(tmp_path: Path) -> None:
    fit = _run(tmp_path, max_steps=5)
    assert fit.step == 5
    assert plan(EXAMPLES, fit.spec) == plan(EXAMPLES, Train(**SPEC))[:5]
    assert _rates(tmp_path / "again", max_steps=5)[-1] < 1e-2 / 5


def test_a_loss_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"train\.learning_rate: the loss is (nan|inf) in step \d+; give a lower rate"):
        _run(tmp_path, learning_rate=1e30)


def _history(folder: Path, **change: Any) -> list[dict[str, float]]:
    """What is logged of each step."""
    fit = _fit(lora_dropout=0.0, **change)
    loop = trainer(fit, folder, resumed=False)
    loop.train()
    return [entry for entry in loop.state.log_history if "loss" in entry]


def _rates(folder: Path, **change: Any) -> list[float]:
    """The learning rate of each step as it is taken."""
    return [entry["learning_rate"] for entry in _history(folder, **change)]


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_nothing(tmp_path: Path) -> None:
    rates = _rates(tmp_path, warmup=0.5)
    rise = [1e-2 * (n + 1) / 9 for n in range(4)]
    assert rates[:4] == pytest.approx(rise)  # later the fall of the cosine is the lower of the two
    top = rates.index(max(rates))
    assert 3 < top < 9
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 1e-2 / 50
    assert _rates(tmp_path, warmup=0.0)[0] == 1e-2


def test_weights_decay_as_the_recipe_says(tmp_path: Path) -> None:
    before = {name: p.clone() for name, p in _trained(_fit()).items()}
    change: dict[str, Any] = {"max_steps": 1, "warmup": 0.0, "lora_dropout": 0.0}
    plain, decaying = (_run(tmp_path / str(decay), weight_decay=decay, **change) for decay in (0.0, 0.5))
    for name, start in before.items():
        lost = _trained(plain)[name] - _trained(decaying)[name]
        assert torch.allclose(lost, 1e-2 * 0.5 * start, atol=1e-7), name
    assert any(start.abs().max() > 0 for start in before.values())

"""Training on a model of two layers: what is in a checkpoint, when it stops, what it keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from poem_build.errors import GateError
from poem_build.models.tokens import Tokens
from poem_build.recipe.schema import Train
from poem_build.train.checkpoints import Checkpoints
from poem_build.train.fit import Fit, mean_loss, plan

EXAMPLES = [Tokens(tuple(range(3, 12 + n)), tuple(range(5 + n, 20 + 3 * n))) for n in range(12)]
HELD_OUT = [Tokens(tuple(range(4, 20)), tuple(range(7, 15)))]
SPEC: dict[str, Any] = {
    **{"r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "learning_rate": 1e-2, "weight_decay": 0.1},
    **{"epochs": 3, "batch": 2, "checkpoint_s": 0, "evaluate_every": 3},
}
STEPS = 18


def _model() -> Any:
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
        model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.2, target_modules="all-linear")
    )


def _fit(**change: Any) -> Fit:
    return Fit(_model(), EXAMPLES, HELD_OUT, Train(**(SPEC | change)))


def _adapter(fit: Fit) -> dict[str, bytes]:
    return {name: p.detach().numpy().tobytes() for name, p in fit.parameters.items()}


class Killed(Checkpoints):
    """Writes until it is killed, right after the checkpoint of one step."""

    def __init__(self, folder: Path, at: int) -> None:
        super().__init__(folder)
        self.at = at

    def save(self, state: Mapping[str, Any]) -> None:
        super().save(state)
        if state["step"] == self.at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    fit = _fit()
    fit.run(Checkpoints(tmp_path_factory.mktemp("whole")))
    return fit


def _killed_at(folder: Path, at: int, **change: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        _fit(**change).run(Killed(folder, at))
    torch.manual_seed(99)  # whatever the next process did before it goes on


@pytest.mark.parametrize("at", [1, 3, 8, STEPS])
def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path, whole: Fit, at: int) -> None:
    _killed_at(tmp_path, at)
    again = _fit()
    again.run(Checkpoints(tmp_path))
    assert again.resumed_at == at
    assert _adapter(again) == _adapter(whole)
    assert (again.train, again.valid, again.kept) == (whole.train, whole.valid, whole.kept)


@pytest.mark.parametrize("part", ["generator", "optimizer", "scheduler", "parameters"])
def test_every_part_of_a_checkpoint_is_needed(tmp_path: Path, part: str) -> None:
    """The test above would fail if any part of the state were left out."""
    _killed_at(tmp_path, 8, evaluate_every=0)
    adapters = []
    for change in ({}, {part: _fit()._state()[part]}):
        state = Checkpoints(tmp_path).latest()
        assert state is not None
        Checkpoints(tmp_path / str(len(change))).save(state | change)
        again = _fit(evaluate_every=0, checkpoint_s=60)
        again.run(Checkpoints(tmp_path / str(len(change))))
        assert (again.resumed_at, len(again.train)) == (8, STEPS)
        adapters.append(_adapter(again))
    assert adapters[0] != adapters[1]


def test_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path, whole: Fit) -> None:
    _killed_at(tmp_path, 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000007", "step-00000008"]
    newest = tmp_path / "step-00000008"
    newest.write_bytes(newest.read_bytes()[:5000])
    (tmp_path / "unfinished").write_bytes(b"half")
    again = _fit()
    again.run(Checkpoints(tmp_path))
    assert (again.resumed_at, _adapter(again)) == (7, _adapter(whole))
    for path in tmp_path.glob("step-*"):
        path.write_bytes(b"")
    assert Checkpoints(tmp_path).latest() is None


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    _killed_at(tmp_path, 2)
    newest = tmp_path / "step-00000002"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0x10
    newest.write_bytes(content)
    found = Checkpoints(tmp_path).latest()
    assert found is not None
    assert found["step"] == 1


def test_the_best_adapter_is_kept_and_training_stops_when_patience_ends(tmp_path: Path) -> None:
    """The held-out answer is none of the examples', so its loss rises once they are learnt by heart."""
    fit = _fit(patience=2, epochs=40, lora_dropout=0.0)
    fit.run(Checkpoints(tmp_path))
    step, loss = fit.kept
    assert 0 < step < fit.step < len(fit.plan)
    assert fit.step == step + 2 * 3
    assert loss == min(found for at, found in fit.valid if at)
    assert mean_loss(fit.model, HELD_OUT, 2) == loss


def test_without_looks_the_last_step_is_kept(tmp_path: Path) -> None:
    fit = _fit(evaluate_every=0)
    fit.run(Checkpoints(tmp_path))
    assert [step for step, _ in fit.valid] == [0, STEPS]
    assert fit.kept == (STEPS, mean_loss(fit.model, HELD_OUT, 2))


def test_parts_of_a_batch_add_up_to_it() -> None:
    losses, gradients = [], []
    for size in (None, 1):
        fit = _fit(micro_batch=size, batch=4, lora_dropout=0.0)
        for name, parameter in fit.parameters.items():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
        fit.model.eval()
        losses.append(fit.gradients(EXAMPLES[:4]))
        gradients.append([p.grad.clone() for p in fit.parameters.values()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for whole, parts in zip(*gradients, strict=True):
        assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-5)


def test_max_steps_ends_the_plan_and_the_learning_rate_with_it(tmp_path: Path) -> None:
    fit = _fit(max_steps=5)
    fit.run(Checkpoints(tmp_path))
    assert fit.step == 5
    assert fit.scheduler.get_last_lr()[0] == pytest.approx(0, abs=1e-9)
    assert plan(EXAMPLES, fit.spec) == plan(EXAMPLES, Train(**SPEC))[:5]


def test_a_loss_that_is_no_number_is_refused(tmp_path: Path) -> None:
    fit = _fit(learning_rate=1e30)
    with pytest.raises(GateError, match=r"train\.learning_rate: the loss is (nan|inf) in step \d+; give a lower rate"):
        fit.run(Checkpoints(tmp_path))


def _rates(fit: Fit) -> list[float]:
    """The learning rate of each step as it is taken."""
    found: list[float] = []
    fit.optimizer.register_step_pre_hook(lambda optimizer, *_: found.append(optimizer.param_groups[0]["lr"]))
    for batch in fit.plan:
        fit.descend(batch)
    return found


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_nothing() -> None:
    rates = _rates(_fit(warmup=0.5, lora_dropout=0.0))
    rise = [1e-2 * (n + 1) / 9 for n in range(4)]
    assert rates[:4] == pytest.approx(rise)  # later the fall of the cosine is the lower of the two
    top = rates.index(max(rates))
    assert 3 < top < 9
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 1e-2 / 50
    assert _rates(_fit(warmup=0.0, lora_dropout=0.0))[0] == 1e-2


def test_gradients_are_clipped_to_a_norm_of_one() -> None:
    fit = _fit(lora_dropout=0.0)
    for name, parameter in fit.parameters.items():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    norms: list[float] = []

    def norm(*_: Any) -> None:
        norms.append(float(torch.stack([p.grad.norm() for p in fit.parameters.values()]).norm()))

    fit.model.train()
    torch.manual_seed(5)  # the model has dropout
    fit.gradients(fit.plan[0])
    norm()
    fit.optimizer.zero_grad()
    fit.optimizer.register_step_pre_hook(norm)
    torch.manual_seed(5)
    fit.descend(fit.plan[0])
    assert norms[0] > 2
    assert norms[1] == pytest.approx(1.0, rel=1e-3)


def test_weights_decay_as_the_recipe_says() -> None:
    before = {name: p.detach().clone() for name, p in _fit().parameters.items()}
    plain, decaying = (_fit(weight_decay=decay, warmup=0.0, lora_dropout=0.0) for decay in (0.0, 0.5))
    for fit in (plain, decaying):
        torch.manual_seed(5)  # the model has dropout
        fit.descend(fit.plan[0])
    for name, start in before.items():
        lost = plain.parameters[name].detach() - decaying.parameters[name].detach()
        assert torch.allclose(lost, 1e-2 * 0.5 * start, atol=1e-7), name
    assert any(start.abs().max() > 0 for start in before.values())

"""transformers' `Trainer` with the loss of the answers alone; what a step depends on is in its checkpoints.

The recipe's schedule, order and micro batches are ours; the loop, the optimizer, clipping, several processes and what a
checkpoint holds are the library's. A step's examples are spread over the processes of one training, so that any number
of them takes the same steps.
"""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

from poem_build.errors import GateError
from poem_build.models.device import Device
from poem_build.models.likelihood import answer_losses, packed_losses
from poem_build.models.tokens import Tokens
from poem_build.progress import token_bar
from poem_build.recipe.training import Train
from poem_build.train import checkpoints
from poem_build.train.batches import batches
from poem_build.train.memory import give_back
from poem_build.train.schedule import rate

_TRIM_EVERY = 16
"""Steps between two times that freed memory is given back; after each step it cost 9 % of the processor."""


class Task(Protocol):
    """What a loop goes through."""

    @property
    def model(self) -> Any: ...
    @property
    def plan(self) -> Sequence[Sequence[Tokens]]:
        """The examples of each step."""

    @property
    def held_out(self) -> Sequence[Tokens]: ...
    @property
    def spec(self) -> Train: ...
    @property
    def device(self) -> Device: ...


def trainer(task: Task, folder: Path, *, resumed: bool) -> Any:
    """A `transformers.Trainer` that takes the plan's steps and keeps its checkpoints in the folder."""
    import transformers

    spec, plan = task.spec, task.plan
    arguments = arguments_of(
        transformers.TrainingArguments,
        spec,
        task.device,
        len(plan),
        folder,
        per_device_train_batch_size=1,  # a step of the plan
        eval_on_start=not resumed,
    )
    made = _answer_trainer()(
        model=task.model,
        args=arguments,
        train_dataset=plan,
        eval_dataset=task.held_out,
        callbacks=[watch([sum(map(len, step)) for step in plan], spec)],
    )
    made.remove_callback(transformers.PrinterCallback)
    made.spec = spec
    return made


def arguments_of(kind: Any, spec: Train, device: Device, steps: int, folder: Path, **more: Any) -> Any:
    """What the library is told of a training: its `TrainingArguments`, or a kind of them."""
    on_gpu = device.torch == "cuda"
    paged = on_gpu and (spec.weight_bits != 16 or spec.offload != "none")
    # The transformers that Unsloth asks for know it by its former name.
    offered = kind.__dataclass_fields__
    stored = "activation_checkpointing" if "activation_checkpointing" in offered else "gradient_checkpointing"
    arguments = kind(
        output_dir=str(folder),
        seed=spec.seed,
        max_steps=steps,
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
        max_grad_norm=1.0,
        # Its state is kept in 8 bits, and moved out of the GPU's memory where that gets scarce.
        optim="paged_adamw_8bit" if paged else "adamw_torch",
        # Weights in float32 are multiplied in the device's format; those in float16 need their gradients scaled.
        bf16=device.dtype == "bfloat16" and spec.method == "full",
        fp16=device.dtype == "float16",
        **{
            stored: spec.gradient_checkpointing and spec.method != "unsloth",
            f"{stored}_kwargs": {"use_reentrant": False} if spec.gradient_checkpointing else None,
        },
        eval_strategy="steps",
        eval_steps=spec.evaluate_every or steps,
        save_strategy="steps",
        save_steps=steps,  # and whenever `watch` asks for it
        save_total_limit=3,  # the best, and the newest two: the last has no seal yet; a fourth while it is written
        metric_for_best_model="loss",
        greater_is_better=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=device.kind == "cpu",
        use_cache=True,  # each call says that it wants none; this stands in the config that is saved
        **more,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs are `launch`'s; by itself the library would split batches
    return arguments


def curves(state: Any) -> tuple[list[float], list[tuple[int, float]]]:
    """What a trainer's state remembers of the losses: of each step's examples, and (steps done, validation loss)."""
    history = state.log_history
    return (
        [entry["loss"] for entry in history if "loss" in entry],
        [(entry["step"], entry["eval_loss"]) for entry in history if "eval_loss" in entry],
    )


def kept(valid: Sequence[tuple[int, float]]) -> tuple[int, float]:
    """The step whose weights are kept, the best of those that were looked at, and its validation loss."""
    return min(valid[1:], key=lambda look: look[1])


def out_of_patience(valid: Sequence[tuple[int, float]], patience: int) -> bool:
    """Whether so many looks have passed since the best."""
    return bool(patience and valid[1:]) and sum(step > kept(valid)[0] for step, _ in valid) >= patience


def mean_loss(model: Any, examples: Sequence[Tokens], size: int) -> float:
    """Mean negative log-likelihood in nats over all answer tokens, `size` examples at a time."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in batches(examples, size, "evaluation"):
            losses, mask = answer_losses(model, batch)
            total += float(losses.sum())
            count += int(mask.sum())
    return total / count


def _answer_trainer() -> Any:
    import torch
    import transformers

    class AnswerTrainer(transformers.Trainer):  # type: ignore[misc]
        loss_is_scaled_for_ga = True
        spec: Train
        lr_scheduler: Any
        control: Any

        def get_train_dataloader(self) -> Any:
            """The plan's steps in their order, the same in every process."""
            return torch.utils.data.DataLoader(
                self.train_dataset,
                batch_size=1,
                collate_fn=lambda rows: {"step": rows[0]},
                generator=torch.Generator(),  # else each start of it draws from the generator that dropout draws from
            )

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                    optimizer or self.optimizer, lambda step: rate(self.spec, step, num_training_steps)
                )
                self._created_lr_scheduler = True
            return self.lr_scheduler

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            """Add up the gradients of the step's mean loss, some examples at a time, and return that loss."""
            step = inputs["step"]
            mine = step[self.args.process_index :: self.args.world_size]
            size = self.spec.micro_batch or len(step)
            parts = [mine[n : n + size] for n in range(0, len(mine), size)] or [step[:1]]
            # Several processes take the mean of theirs; one without an example of its own adds nothing to it.
            count = sum(len(tokens.answer) for tokens in step) / self.args.world_size if mine else math.inf
            total = 0.0
            for n, part in enumerate(parts, 1):
                last = n == len(parts)
                self.accelerator.gradient_state._set_sync_gradients(last)
                with nullcontext() if last or self.is_deepspeed_enabled else self.accelerator.no_sync(model):
                    total += super().training_step(model, {"part": part, "count": count})
            if not math.isfinite(total):
                raise GateError(
                    f"train.learning_rate: the loss is {float(total)} in step {self.state.global_step + 1}; "
                    "give a lower rate"
                )
            return total

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            reckon = packed_losses if self.spec.packing else answer_losses
            losses, _ = reckon(model, inputs["part"])
            return losses.sum() / inputs["count"]

        def floating_point_ops(self, inputs: Any) -> int:
            return 0

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            """The mean loss of all validation answers."""
            metrics = {"eval_loss": mean_loss(self.model, self.eval_dataset, self.spec.micro_batch or self.spec.batch)}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    return AnswerTrainer


def watch(sizes: Sequence[int], spec: Train) -> Any:
    """A callback that asks for checkpoints, seals them, stops when patience ends, and shows a bar of the tokens."""
    import transformers
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    class Watch(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved = time.monotonic()
            self.room = token_bar("training", sum(sizes), sum(sizes[: state.global_step]))
            self.bar = self.room.__enter__()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            due = [time.monotonic() - self.saved >= spec.checkpoint_s]
            control.should_save |= broadcast_object_list(due)[0] if args.world_size > 1 else due[0]
            if not state.global_step % _TRIM_EVERY:
                give_back()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
            if "loss" in logs:
                step = state.global_step
                self.bar(sizes[step - 1], f"step {step} of {len(sizes)}, loss {logs['loss']:.3f}")

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            valid = curves(state)[1]
            if state.global_step:
                control.should_training_stop |= out_of_patience(valid, spec.patience)
                control.should_save |= control.should_training_stop or kept(valid)[0] == state.global_step

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            PartialState().wait_for_everyone()
            if state.is_world_process_zero:
                checkpoints.seal(Path(args.output_dir), state.global_step)
            self.saved = time.monotonic()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.room.__exit__(None, None, None)

    return Watch()

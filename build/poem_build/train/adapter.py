"""A base and the data set → an adapter or all weights, by the recipe's method, on the device that is there."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from poem_build.data.chats import read_chats
from poem_build.models import family, shapes
from poem_build.models.context import check_context, check_poem_prompts
from poem_build.models.device import Device, device_of, key_of
from poem_build.models.load import load_tokenizer
from poem_build.models.origin import WEIGHTS, Longest, read_origin, write_origin
from poem_build.plan.memory import Training
from poem_build.recipe.schema import Recipe
from poem_build.recipe.training import Method
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Job, Stage, sections
from poem_build.train import curve, launch, methods, scarce
from poem_build.train.protocol import Setup, Steps


class Loss(BaseModel):
    """The validation loss before and after."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    before: float
    after: float


class TrainReport(Report):
    """Losses in nats a token: of the training answers in twentieths, of the validation answers at every look."""

    version: ClassVar[int] = 2
    method: Method
    tokens: int
    trainable: int
    steps: Steps
    valid_loss: Loss
    valid_curve: list[tuple[int, float]]
    train_loss: list[float]
    overfitting: str
    """Since which step, in words; empty where there is none."""
    device: Device
    """Where it was trained, in which number format, and why."""


def run(job: Job) -> TrainReport:
    """Train the adapter, from its last checkpoint if a process was killed at it; loss.png shows how it went."""
    recipe, spec, base = job.recipe, job.recipe.training, job.path("base")
    talk, tokenizer = family.family(recipe.base.family), load_tokenizer(base)
    train, valid = (
        [talk.tokens(tokenizer, chat) for chat in read_chats(job.path("dataset", f"{split}.jsonl"))]
        for split in ("train", "valid")
    )
    longest = Longest(example=max(map(len, train + valid)), prompt=max(len(tokens.prompt) for tokens in train + valid))
    check_context(recipe, longest)
    check_poem_prompts(recipe, train + valid)
    device = device_of(recipe)
    launch.check_offload(spec, device)
    setup = Setup(base, talk, spec, device, job.folder, job.room)
    answer = max(len(tokens.answer) for tokens in train + valid)
    how = Training.of(spec, device.dtype, longest.example, answer)
    with scarce.named(how, shapes.of_folder(base), device):
        if spec.launch == "single":
            trained = methods.trainer(spec.method).train(setup, train, valid)
        else:
            trained = launch.train(setup, train, valid)
    kind = spec.method if spec.method == "full" else f"{spec.method} r {spec.r}"
    title = f"{recipe.name}: {kind}, learning rate {spec.learning_rate:g}, {spec.batch} examples a step"
    curve.draw(job.folder / curve.FILE, title, trained.train, trained.valid, trained.kept[0])
    cut_short = trained.steps.planned < trained.steps.whole
    told = {"cut_short": cut_short, "longest": longest, "base": job.inputs["base"].digest(WEIGHTS)}
    write_origin(job.folder, read_origin(job.path("dataset")), **told)
    return TrainReport(
        method=spec.method,
        tokens=trained.tokens,
        trainable=trained.trainable,
        steps=trained.steps,
        valid_loss=Loss(before=round(trained.valid[0][1], 4), after=round(trained.kept[1], 4)),
        valid_curve=[(step, round(loss, 4)) for step, loss in trained.valid],
        train_loss=_twentieths(trained.train),
        overfitting=curve.overfitting(trained.train, trained.valid, trained.kept[0]),
        device=device,
    )


def _modules(recipe: Recipe) -> tuple[str, ...]:
    spec = recipe.train
    trains = [methods.module(spec.method)] if spec else []
    workers = ["poem_build.train.worker"] if spec and spec.launch != "single" else []
    return (*family.modules(recipe), *trains, *workers)


def _outside(recipe: Recipe) -> Mapping[str, Path]:
    preferences = recipe.train and recipe.train.preferences
    return {**family.templates(recipe), **({"preferences": preferences} if preferences else {})}


STAGE = Stage(
    name="train",
    summary="Train the adapter, or all weights.",
    makes="adapter",
    work=run,
    report=TrainReport,
    settings=lambda recipe: {**sections("train")(recipe), **key_of(recipe)},
    inputs={"base": ALL, "dataset": ("train.jsonl", "valid.jsonl", "origin.json")},
    outside=_outside,
    given=lambda recipe: recipe.adapter,
    modules=_modules,
    packages=("torch", "transformers", "tokenizers", "peft", "accelerate"),
)


def _twentieths(losses: Sequence[float]) -> list[float]:
    """The mean of each twentieth."""
    size = math.ceil(len(losses) / 20)
    return [round(sum(part) / len(part), 4) for part in (losses[n : n + size] for n in range(0, len(losses), size))]

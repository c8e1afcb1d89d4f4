"""A quantized model → the smoke test: it loads, it answers in the right shape, it ends by itself."""

from poem_build.data.examples import read_examples
from poem_build.errors import GateError
from poem_build.judge.protocol import FILE, Score, score, write_verdicts
from poem_build.judge.rules import Rules, play_file
from poem_build.models import family
from poem_build.models.files import SERVED
from poem_build.models.origin import read_origin
from poem_build.store.artifact import Report
from poem_build.store.stage import Finished, Job, Stage, sections


class VerifyReport(Report):
    """What became of the hands."""

    score: Score


def run(job: Job) -> VerifyReport:
    """Play a few held-out hands, the shape constrained; the answers are kept."""
    examples = read_examples(job.path("dataset", "test.jsonl"), job.game)[: job.recipe.gate.smoke_hands]
    replies = play_file(job.path("gguf", SERVED), job.recipe, job.game, examples, constrained=True)
    pairs = zip(examples, replies, strict=True)
    verdicts = [Rules().judge(example, reply, "model, shape constrained") for example, reply in pairs]
    write_verdicts(job.folder / FILE, verdicts)
    return VerifyReport(score=score(verdicts))


def gate(finished: Finished) -> None:
    """Refuses a whole training if an answer is none, or too few keep the rules."""
    found, gguf = finished.artifact.report(VerifyReport).score, finished.inputs["gguf"].path
    least = finished.recipe.gate.smoke_pass
    if (found.malformed or found.share < least) and not read_origin(gguf).cut_short:
        raise GateError(
            f"{gguf / SERVED}: gate.smoke_pass: {found.passed} of {found.hands} hands keep all rules, {least:.0%} "
            f"must; {found.malformed} are no answer ({finished.artifact.path / FILE}); train longer, or lower it"
        )


STAGE = Stage(
    name="verify",
    summary="Smoke test: load the model and play a few hands.",
    makes="verify",
    work=run,
    report=VerifyReport,
    settings=sections("serve", "gate"),
    inputs={"gguf": (SERVED, "origin.json"), "dataset": ("test.jsonl",)},
    reads_game=True,
    outside=family.templates,
    modules=family.modules,
    packages=("llama-cpp-python",),
    gate=gate,
)

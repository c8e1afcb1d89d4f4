"""What `eval/report.json` holds: the verdict with its reasons, every figure with its interval, where it comes from.

`format` goes up when a field changes its meaning. What has not been measured is an empty list or null, never a zero.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from poem_build.errors import ArtifactError
from poem_build.evaluation.harness import Tries
from poem_build.evaluation.outcome import Outcome
from poem_build.evaluation.poems import Specimen
from poem_build.judge.figures import Figures
from poem_build.store.folder import write_text

FILE = "report.json"
MODEL = "model"
"""The writer that the report is about: the quantized model, its answer's shape constrained, as it is served."""
Unit = Literal["share", "points", "nats", "perplexity", "seconds", "tokens/s", "characters", "ratio"]


class Figure(Figures):
    """A measured value with the 95 % interval of its bootstrap."""

    name: str
    """What is measured, the same in every report: `pass.delivered`, `conceal.lemma`, `speed.answer` …"""
    writer: str
    """Of whose poems; empty where it is no writer's."""
    what: str
    value: float
    low: float
    high: float
    unit: Unit
    better: Literal["higher", "lower", ""]
    count: int
    """Of what the value is of: hands, mostly."""
    gate: str = ""  # the key of `[gate]` that has a word on it


class Judged(Figures):
    """Who judged, and how much of what it answered could be read; nothing is asked of what only counts."""

    name: str
    asked: int = 0
    unread: int = 0


class Provenance(Figures):
    """From what, by what, where and when."""

    made_at: str
    seconds: float
    recipe: str
    params: str
    base: str
    licence: str
    game: str
    game_digest: str
    prompt_version: str
    hands: int
    hands_version: str
    """Of the set of held-out hands: its number and a digest of the hands that were played."""
    teacher: str
    """Whoever wrote what the model learnt from."""
    gguf: str
    """SHA-256."""
    steps: int
    device: str
    packages: dict[str, str]
    judges: list[Judged]
    """`rules`, `counted`, and the language models that judged, by kind and model."""
    cost_usd: float


class RuleRate(Figures):
    """The share of a writer's answers that keep one rule of the game."""

    rule: str
    """`malformed` for what is no answer."""
    writer: str
    when: Literal["first", "delivered"]
    """Of the first answers, or of the last of up to three, which a player would get."""
    kept: Figure


class GroupRate(Figures):
    """How a writer fares with the hands that hold a card of one category, or of one strength."""

    kind: Literal["category", "strength"]
    group: str
    """The category's name, or the strength with its sign."""
    writer: str
    passed: Figure
    concealed: Figure | None


class Samples(Figures):
    """One measurement of every poem of a writer, for a plot."""

    name: Literal["length", "first_token", "answer", "tokens_per_second"]
    writer: str
    unit: Unit
    values: list[float]


class Losses(Figures):
    """How the training went, in nats an answer token."""

    steps: int
    train: list[float]
    """In twentieths of the steps."""
    valid: list[tuple[int, float]]
    """(steps done, loss)."""
    kept_step: int


class Quantized(Figures):
    """A GGUF beside the f16 one."""

    name: str
    bytes: int
    perplexity: float
    kl_divergence: float
    same_top_token: float
    served: bool


class Duel(Figures):
    """Two writers, hand by hand, each pair of poems read in both orders."""

    first: str
    second: str
    judge: str
    aspect: str
    """`overall`, `unity` or `voice`."""
    won: int
    tied: int
    """Ties, and answers that another order turned over."""
    lost: int
    share: Figure
    """Of the duels that the first won, ties by half."""


class Strength(Figures):
    """A writer's Bradley–Terry score: nats above the mean of the writers."""

    writer: str
    judge: str
    aspect: str
    score: float
    low: float
    high: float


class OrderBias(Figures):
    """How often a judge takes the poem that stands first; half of the time if its place is nothing to it."""

    judge: str
    first: Figure
    overturned: Figure
    """The share of pairs whose verdict another order turned over."""
    biased: bool
    """Whether the interval of `first` leaves out one half."""
    unread: int
    """Answers that nobody could read, tries and all."""


class Matrix(Figures):
    """Any writer against any."""

    writers: list[str]
    duels: list[Duel]
    scores: list[Strength]
    bias: list[OrderBias]


class Ratio(Figures):
    """The student's mean score over the teacher's on the same held-out hands."""

    mean: float
    low: float
    high: float
    hands: int
    judge: str


class Former(Figures):
    """The build before this one."""

    made_at: str
    gguf: str
    passed: bool
    below_composer: bool = False
    hands_version: str
    figures: list[Figure]


class Measured(Figures):
    """What `eval` measured, whoever tells of it."""

    figures: list[Figure]
    rules: list[RuleRate]
    groups: list[GroupRate]
    samples: list[Samples]
    matrix: Matrix | None
    poems: list[Specimen]
    teacher_ratio: Ratio | None

    def figure(self, name: str, writer: str = MODEL) -> Figure | None:
        """The figure of that name, if it was measured of that writer."""
        return next((one for one in self.figures if (one.name, one.writer) == (name, writer)), None)

    def measured(self) -> dict[str, Any]:
        """These fields, for another report that tells of them."""
        return {name: getattr(self, name) for name in Measured.model_fields}


class Opening(Figures):
    """What a report begins with."""

    format: Literal[1] = 1
    verdict: Outcome
    provenance: Provenance


class Evaluation(Measured, Opening):
    """A report."""

    losses: Losses | None
    quantized: list[Quantized]
    former: Former | None
    harness: Tries | None = None
    """What lm-eval found; it is told and turns no verdict."""


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write the report, whole or not at all."""
    write_text(path, evaluation.model_dump_json(indent=1) + "\n")


def read_evaluation(path: Path) -> Evaluation:
    """The report in a file. Raises `ArtifactError` for one that is not there, damaged or of another format."""
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}", "`poem-build eval` makes it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "report"
        raise ArtifactError(f"{path}: {where}: {first['msg']}", "`poem-build eval` makes it anew") from error

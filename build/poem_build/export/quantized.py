"""What became of the served file, whichever stage made it → figures, and what they have to hold."""

import operator
from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from poem_build.export.quantization import K_QUANTS
from poem_build.models.files import SERVED
from poem_build.recipe.gate import Gate
from poem_build.store.artifact import Report
from poem_build.store.red_line import RedLine, refuse
from poem_build.store.stage import Finished


class Weighed(BaseModel):
    """What the importance matrix was reckoned from, and how many tensors it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    texts: int
    tensors: int
    asked: str = Field(default="", exclude_if=operator.not_)
    """Where the model ran and in which number format, where that is not float32 on the device of the recipe."""


class QuantizeReport(Report):
    """The types of the served file's tensors, and the size of every file."""

    version: ClassVar[int] = 2
    tensors: dict[str, int]
    imatrix: Weighed | None
    """None where the recipe wants none."""
    not_k_quants: int
    """Matrices that no K-quant could take and that stayed larger."""
    bytes: dict[str, int]


def not_k_quants(found: Mapping[str, int]) -> int:
    """How many matrices of a file did not become K-quants, by its tensors' types; what is no matrix is F32."""
    return sum(n for kind, n in found.items() if kind not in {*K_QUANTS, "F32"})


def red_lines(report: QuantizeReport, asked: Gate) -> list[RedLine]:
    """What has to have become small."""
    return [
        RedLine(
            "k_quants",
            "matrices that became K-quants",
            sum(n for kind, n in report.tensors.items() if kind in K_QUANTS),
            asked.k_quants,
            "rows must be multiples of 256",
            shown="d",
            note=", ".join(f"{n} {kind}" for kind, n in report.tensors.items()),
            whole_training=False,
        )
    ]


def gate(finished: Finished) -> None:
    """Refuses a file that is called Q4_K_M and is none."""
    report = finished.artifact.report(QuantizeReport)
    refuse(red_lines(report, finished.recipe.gate), finished.artifact.path / SERVED, cut_short=False)

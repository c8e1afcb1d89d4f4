"""What a gate refuses, and what it says of it."""

from pathlib import Path

import pytest

from poem_build.errors import GateError
from poem_build.store.red_line import RedLine, refuse


def test_a_refusal_knows_its_red_line_whatever_stands_around_it() -> None:
    line = RedLine(key="eval_pass", what="hands: whole; right", seen=0.5, asked=0.8, remedy="train longer; or not")
    with pytest.raises(GateError) as refused:
        refuse([line], Path("out: 2/answers.jsonl"), cut_short=False)
    told = "gate.eval_pass: hands: whole; right: 50.0%, asked for at least 80.0%"
    assert str(refused.value) == f"out: 2/answers.jsonl: {told}; train longer; or not"
    assert refused.value.red_line == told

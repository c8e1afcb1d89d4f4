"""Keys put into a finished GGUF: everything else is as it was."""

from pathlib import Path

import numpy as np
import pytest

from poem.model_keys import FORCED, VERDICT
from poem_build.errors import ModelFileError
from poem_build.export.stamp import stamp
from poem_build.models.converter import gguf
from poem_build.models.standing import Standing, read_standing, write_standing
from support.tiny_gguf import write_tiny_gguf

KEYS = Standing(verdict="below-composer", forced=("verify: gate.smoke_pass: 詩が足りない",)).keys()


def test_a_stamped_model_says_so_and_has_the_same_weights(tmp_path: Path) -> None:
    source, target = write_tiny_gguf(tmp_path / "model.gguf"), tmp_path / "stamped.gguf"
    stamp(source, target, KEYS)
    before, after = gguf().GGUFReader(source), gguf().GGUFReader(target)
    told = {name: after.get_field(name).contents() for name in (VERDICT, FORCED)}
    assert told == {VERDICT: "below-composer", FORCED: "verify: gate.smoke_pass: 詩が足りない"}
    kept = [name for name in before.fields if not name.startswith("GGUF.")]
    assert [before.get_field(name).contents() for name in kept] == [after.get_field(name).contents() for name in kept]
    assert [one.name for one in before.tensors] == [one.name for one in after.tensors]
    assert all(np.array_equal(a.data, b.data) for a, b in zip(before.tensors, after.tensors, strict=True))


def test_a_key_that_is_there_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    source, target = write_tiny_gguf(tmp_path / "model.gguf"), tmp_path / "stamped.gguf"
    stamp(source, target, KEYS)
    with pytest.raises(ModelFileError, match=r"stamped\.gguf: cannot be stamped: has mansion_poem\.verdict already"):
        stamp(target, tmp_path / "again.gguf", KEYS)
    source.write_bytes(source.read_bytes()[:100])
    with pytest.raises(ModelFileError, match=r"model\.gguf: cannot be stamped"):
        stamp(source, target, KEYS)


def test_a_standing_lies_beside_its_model_and_nothing_lies_where_nothing_is_known(tmp_path: Path) -> None:
    standing = Standing(verdict="refused", forced=("eval: gate.eval_pass: few",))
    write_standing(tmp_path, standing)
    assert read_standing(tmp_path) == standing
    for damaged in (b"{", b"\xff"):
        (tmp_path / "verdict.json").write_bytes(damaged)
        assert read_standing(tmp_path) == Standing()
    write_standing(tmp_path, Standing())
    assert not list(tmp_path.iterdir())

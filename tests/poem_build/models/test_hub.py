"""A model that is fetched from a hub: each file once, on from where it stopped, at the commit that it was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from poem_build.cli import pipeline
from poem_build.cli.options import choose_work
from poem_build.models import hub, source
from poem_build.models.source import SourceReport
from poem_build.recipe.schema import load_recipe
from support.chain import workshop_of
from support.hub_stand_in import Hub, commit_of, serving

SCRIPT = """
import sys
from pathlib import Path
from poem_build.cli.options import set_up_process
from poem_build.errors import BuildError
from poem_build.models import source
from poem_build.recipe.schema import load_recipe
from support.chain import workshop_of
set_up_process()
model, out = sys.argv[1:]
try:
    made = workshop_of(source.override(load_recipe("gemma-3-270m"), model), Path(out)).make("base")
except BuildError as error:
    sys.exit(f"Error: {error}")
print(f"base: {'kept' if made.reused else 'made'}")
"""
"""The stage alone; what is looked at before it: cli/test_ahead.py."""
MODEL = "somebody/small"
TESTS = Path(__file__).parents[2]
CHUNK = 10 * 2**20
"""What the hub's client writes at once."""
LLAMA = [
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("LICENSE", "USE_POLICY.md", "README.md", ".gitattributes"),
    *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"),
    *("original/consolidated.00.pth", "original/params.json", "original/tokenizer.model"),
]
BIN = ["config.json", "merges.txt", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
BIN += ["pytorch_model.bin.index.json", "vocab.json"]


def _once(*left_out: str) -> set[str]:
    return set(LLAMA) - {".gitattributes", *left_out, *(name for name in LLAMA if name.startswith("original/"))}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (LLAMA, _once()),
        (
            ["config.json", "tokenizer.model", "consolidated.safetensors", "params.json", "model.safetensors"],
            {"config.json", "tokenizer.model", "params.json", "model.safetensors"},
        ),
        (
            ["config.json", "spiece.model", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "rust_model.ot"],
            {"config.json", "spiece.model", "model.safetensors"},
        ),
        (
            [*BIN, "tf_model.h5"],
            set(BIN),
        ),
        (
            ["model.safetensors", "model-00001-of-00001.safetensors", "model.safetensors.index.json", "a.jinja"],
            {"model.safetensors", "a.jinja"},
        ),
        (["original/model.safetensors", "metal/model.bin", "config.json"], {"config.json"}),
    ],
    ids=["llama", "mistral", "gpt2", "bin", "twice", "no weights"],
)
def test_the_weights_are_fetched_in_one_format_and_only_once(names: list[str], wanted: set[str]) -> None:
    found = hub.wanted(names)
    assert set(found) == wanted
    assert len(found) == len(wanted)


def _model(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    (folder / "LICENSE").write_text("terms", "utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def _fetch(out: Path, endpoint: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: the hub's client reads its address when it is imported."""
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "", "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", SCRIPT, MODEL, str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | told)


def test_a_broken_fetch_goes_on_where_it_stopped_though_main_has_moved(tmp_path: Path) -> None:
    weights = os.urandom(2 * CHUNK + 5000)
    old, new = commit_of("old"), commit_of("new")
    folders = {old: _model(tmp_path / "old", weights), new: _model(tmp_path / "new", b"others")}
    out, home = tmp_path / "out", tmp_path / "home"
    with serving(Hub(MODEL, folders, {"main": old}, breaks_after=CHUNK + 5000)) as there:
        broken = _fetch(out, there.url, home)
        assert broken.returncode == 1
        assert broken.stderr.count("\n") == 1, broken.stderr
        assert "run it again, it goes on where it stopped" in broken.stderr
        assert not (out / "base").exists()
        there.down, there.breaks_after, there.revisions["main"] = False, None, new
        there.asked.clear()
        whole = _fetch(out, there.url, home)
        assert whole.returncode == 0, whole.stderr
        assert there.asked == [("model.safetensors", str(CHUNK))]
        assert (out / "base" / "model.safetensors").read_bytes() == weights
        recipe = source.override(load_recipe("gemma-3-270m"), MODEL)
        base = workshop_of(recipe, out).look("base").artifact
        assert base is not None
        assert (base.report(SourceReport).source, base.report(SourceReport).commit) == (f"{MODEL}@main", old)
        assert set(base.files) == {"config.json", "LICENSE", "model.safetensors"}
        assert [path.name for path in out.glob(".base*")] == []
        there.asked.clear()
        assert "base: kept" in _fetch(out, there.url, home).stdout
        assert there.asked == []


def test_a_fetched_model_tells_its_licence(tmp_path: Path) -> None:
    folder, out, commit = _model(tmp_path / "there", b"x"), tmp_path / "out", commit_of("main")
    (folder / "README.md").write_text("---\nlicense: llama3.1\n---\n", "utf-8")
    recipe = source.override(load_recipe("tiny"), MODEL)
    assert choose_work("tiny", MODEL, None, out).recipe.licence == recipe.licence == f"that of its base, {MODEL}@main"
    with serving(Hub(MODEL, {commit: folder}, {"main": commit})) as there:
        assert _fetch(out, there.url, tmp_path / "home").returncode == 0
    workshop = workshop_of(recipe, out)
    pipeline.make(workshop, "base")
    for found in (choose_work("tiny", MODEL, None, out).recipe, workshop.recipe):
        assert found.licence == "Llama 3.1 Community License"
        assert found.notice.startswith("\nBuilt with Llama. ")
    other = choose_work("tiny", f"{MODEL}@v2", None, out).recipe
    assert other.licence == f"that of its base, {MODEL}@v2"
    assert choose_work("gemma-3-270m", MODEL, None, out).recipe.licence == "Gemma Terms of Use"


def test_what_came_otherwise_than_announced_is_thrown_away(tmp_path: Path) -> None:
    commit = commit_of("main")
    out, home = tmp_path / "out", tmp_path / "home"
    with serving(Hub(MODEL, {commit: _model(tmp_path / "old", b"right" * 1000)}, {"main": commit})) as there:
        there.breaks_after = 100
        assert _fetch(out, there.url, home).returncode == 1
        (part,) = out.glob(".base.room-*/model.safetensors.part")
        part.write_bytes(b"wrong" * 900)
        there.down, there.breaks_after = False, None
        refused = _fetch(out, there.url, home)
        assert "model.safetensors: is not what was announced; run it again to fetch it anew" in refused.stderr
        assert not part.exists()
        assert _fetch(out, there.url, home).returncode == 0


def test_a_repository_without_weights_is_refused(tmp_path: Path) -> None:
    folder = _model(tmp_path / "there", b"x")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    commit = commit_of("main")
    with serving(Hub(MODEL, {commit: folder}, {"main": commit})) as there:
        refused = _fetch(tmp_path / "out", there.url, tmp_path / "home")
    told = "of weights it has adapter_model.safetensors alone, which transformers takes for no model"
    told = f"Error: base {MODEL}@main: {told}; give a model in safetensors\n"
    assert (refused.returncode, refused.stderr) == (1, told)

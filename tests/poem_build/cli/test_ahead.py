"""What a model of the hub is refused for before a byte of its weights is fetched, and what its small files plan."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from poem_build.recipe.schema import RECIPES
from support.hub_stand_in import Hub, commit_of, serving

MODEL = "somebody/small"
SCRIPT = """
import json, sys
from click.testing import CliRunner
from poem_build.cli.main import cli
for line in sys.stdin:
    done = CliRunner().invoke(cli, json.loads(line))
    print(json.dumps([done.exit_code, done.stdout, done.stderr]), flush=True)
"""
"""In a process of its own, since the hub's client reads its address when it is imported."""
ROOMY = ["--vram", "1000", "--ram", "2000", "--disk", "500"]


def _config(folder: Path, **change: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")


def _own_code(folder: Path) -> None:
    _config(folder, model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"})


def _large(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(2 * 10**12)  # of which the disk holds no more than before


def _renamed(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


def _sharded(folder: Path) -> None:
    """A first file that is small, and a second with the rest."""
    shards = [folder / f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    whole = folder / "model.safetensors"
    weights = load_file(whole)
    place = {name: shards[weight.ndim > 1] for name, weight in weights.items()}
    for shard in shards:
        save_file({name: weights[name] for name in place if place[name] == shard}, shard, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: shard.name for name, shard in place.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    whole.unlink()


REFUSED: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "own-code": (
        _own_code,
        [],
        "Error: base {}/config.json: auto_map: its architecture lives in code of its own; not ",
    ),
    "unknown": (
        lambda folder: _config(folder, architectures=["BertModel"]),
        [],
        "Error: base {}: BertModel: is no causal language model that transformers knows; give a base that writes on",
    ),
    "quantized": (
        lambda folder: _config(folder, quantization_config={"quant_method": "awq"}),
        [],
        "Error: base {}/config.json: quantization_config: the weights are quantized (awq); give the base as it was ",
    ),
    "no-config": (
        lambda folder: (folder / "config.json").unlink(),
        [],
        "Error: base {}/config.json: does not tell the model's shape: ",
    ),
    "no-tokenizer": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        [],
        "Error: base {}: cannot be loaded: ",
    ),
    "another-family": (
        lambda folder: None,
        ["--recipe", "gemma-3-270m"],
        "Error: base {}: base.family: gemma ends a turn with <end_of_turn>, which is no token here; families whose ",
    ),
    "vast": (
        lambda folder: _config(folder, num_hidden_layers=100_000, layer_types=None),
        [],
        "Error: recipe tiny: train takes ",
    ),
    "large": (_large, [], "Error: recipe tiny: its files take 2e+03 GB of disk, "),
    "gguf": (
        _renamed("model-Q4_K_M.gguf"),
        [],
        "Error: base {}: its weights are GGUF alone; fetch one, `hf download somebody/small model-Q4_K_M.gguf` say, ",
    ),
    "pickle": (
        _renamed("consolidated.00.pth"),
        [],
        "Error: base {}: of weights it has consolidated.00.pth alone, which transformers takes for no model; give a ",
    ),
}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Asked:
    """The hub, and what commands said of it."""

    hub: Hub
    process: "subprocess.Popen[str]"
    out: Path

    def all(self, *commands: list[str]) -> list[Done]:
        """The commands one after another."""
        return [self._one([*command, "--out", str(self.out / "out")]) for command in commands]

    def _one(self, command: list[str]) -> Done:
        told, said = self.process.stdin, self.process.stdout
        assert told is not None
        assert said is not None
        told.write(json.dumps(command) + "\n")
        told.flush()
        return Done(*json.loads(said.readline()))

    @property
    def main(self) -> tuple[str, Path]:
        """The branch's commit and its files."""
        commit = self.hub.revisions["main"]
        return commit, self.hub.commits[commit]

    @property
    def files(self) -> list[str]:
        """What the hub was asked for, each file as often as it was sent."""
        return [name for name, _ in self.hub.asked]


def _model(folder: Path, spoil: Callable[[Path], object] = lambda _: None) -> Path:
    shutil.copytree(RECIPES / "tiny-base", folder, ignore=shutil.ignore_patterns("artifact.json"))
    spoil(folder)
    return folder


@pytest.fixture(scope="module")
def at_the_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, "subprocess.Popen[str]"]]:
    """A hub that holds nothing yet, and a process that runs commands on it."""
    with serving(Hub("", {}, {})) as hub:
        told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path_factory.mktemp("home")), "HF_TOKEN": ""}
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | told,
        ) as process:
            yield hub, process


def _holding(
    at_the_hub: tuple[Hub, "subprocess.Popen[str]"], out: Path, model: str, commits: dict[str, Path], *names: str
) -> Asked:
    hub, process = at_the_hub
    hub.model, hub.commits, hub.revisions = model, commits, {name: commit_of(name) for name in names}
    hub.down, hub.breaks_after = False, None
    hub.asked.clear()
    return Asked(hub, process, out)


@pytest.fixture
def asked(at_the_hub: tuple[Hub, "subprocess.Popen[str]"], tmp_path: Path) -> Asked:
    """A hub with one good model on `main`, whose card names its licence."""
    folder = _model(tmp_path / "there")
    (folder / "README.md").write_text("---\nlicense: llama3.1\n---\n", "utf-8")
    return _holding(at_the_hub, tmp_path, MODEL, {commit_of("main"): folder}, "main")


@pytest.fixture(scope="module")
def refused(
    at_the_hub: tuple[Hub, "subprocess.Popen[str]"], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Done]:
    """What `base` says of each spoilt model, each a revision of one; no weights of any were asked for."""
    home = tmp_path_factory.mktemp("spoilt")
    folders = {commit_of(name): _model(home / name, spoil) for name, (spoil, *_) in REFUSED.items()}
    asked = _holding(at_the_hub, home, MODEL, folders, *REFUSED)
    commands = [["base", "--base", f"{MODEL}@{name}", *more] for name, (_, more, _) in REFUSED.items()]
    found = dict(zip(REFUSED, asked.all(*commands), strict=True))
    assert "config.json" in asked.files
    assert [name for name in asked.files if name.endswith((".safetensors", ".gguf", ".pth"))] == []
    assert list((home / "out").glob(".base*")) == []  # it may be mended tomorrow
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_the_chain_cannot_take_is_refused_before_its_weights(name: str, refused: dict[str, Done]) -> None:
    done = refused[name]
    assert (done.code, done.err.count("\n")) == (1, 1), done
    assert done.err.startswith(REFUSED[name][2].format(f"{MODEL}@{name}"))
    if name in ("vast", "large"):
        assert done.err.endswith(" are there; `poem-build plan` names the nearest that fits\n")


def test_a_model_is_tried_and_planned_by_its_small_files(asked: Asked) -> None:
    base, plan = ["--base", MODEL], ["plan", "--base", MODEL, *ROOMY]
    tried, as_json, planned, plan_as_json = asked.all(
        ["preflight", *base], ["preflight", *base, "--json"], plan, [*plan, "--json"]
    )
    commit, folder = asked.main
    size = sum(path.stat().st_size for path in folder.iterdir())
    told = f"nothing speaks against commit {commit}; `poem-build run` fetches its {size / 1e9:.3g} GB"
    assert (tried.out, tried.err) == (f"preflight: {MODEL}@main: {told}\n", "")
    assert json.loads(as_json.out) == {"stage": "preflight", "base": f"{MODEL}@main", "commit": commit, "bytes": size}
    assert (planned.code, "; download 0.00994 GB, disk 0.0619 GB. " in planned.out) == (0, True)
    found = json.loads(plan_as_json.out)
    assert (found["parameters"], found["download_bytes"]) == (4_718_592, size)
    assert found["licences"][0]["terms"] == "Llama 3.1 Community License"
    assert "model.safetensors" not in asked.files
    assert not (asked.out / "out").exists()


def test_what_has_come_is_not_asked_for_again(asked: Asked) -> None:
    fetched, planned, kept = asked.all(
        ["base", "--base", MODEL, "--json"], ["plan", "--base", MODEL, *ROOMY, "--json"], ["base", "--base", MODEL]
    )
    assert json.loads(fetched.out)["report"]["commit"] == asked.main[0]
    assert json.loads(planned.out)["parameters"] == 4_718_592
    assert kept.out.startswith("base: kept: ")
    assert sorted(asked.files) == sorted(path.name for path in asked.main[1].iterdir())


@pytest.mark.parametrize(
    ("cut", "left"),
    [
        (lambda _: None, ["model.safetensors"]),
        (_sharded, ["model-00002-of-00002.safetensors", "model.safetensors.index.json"]),
    ],
    ids=["one-file", "shards"],
)
def test_a_fetch_that_broke_is_looked_at_again_and_goes_on_at_its_commit(
    asked: Asked, cut: Callable[[Path], None], left: list[str]
) -> None:
    """Though the branch has moved on, to what is refused."""
    (old, folder), new = asked.main, commit_of("new")
    cut(folder)
    asked.hub.commits[new] = _model(asked.out / "new", _own_code)
    asked.hub.breaks_after = (folder / "tokenizer.json").stat().st_size + 1
    (broken,) = asked.all(["base", "--base", MODEL])
    assert "run it again, it goes on where it stopped" in broken.err
    asked.hub.down, asked.hub.breaks_after, asked.hub.revisions["main"] = False, None, new
    asked.hub.asked.clear()
    (whole,) = asked.all(["base", "--base", MODEL, "--json"])
    assert json.loads(whole.out)["report"]["commit"] == old
    assert asked.files == left


def test_texts_that_llama_cpp_splits_otherwise_are_told_before_the_weights(asked: Asked, tmp_path: Path) -> None:
    recipe = tmp_path / "split.toml"
    text = (RECIPES / "tiny.toml").read_text("utf-8")
    recipe.write_text(text.replace("[base]\n", '[base]\npre_tokenizer = "gpt-2"\n'), "utf-8")
    (done,) = asked.all(["base", "--recipe", str(recipe), "--base", MODEL])
    assert done.code == 1
    assert done.err.startswith("Error: base.pre_tokenizer: ")
    assert "model.safetensors" not in asked.files


def test_weights_that_are_pickled_are_taken_and_it_is_said(asked: Asked) -> None:
    _renamed("pytorch_model.bin")(asked.main[1])
    (done,) = asked.all(["base", "--base", MODEL])
    told = "pytorch_model.bin is no safetensors: it is taken, but a merge has the whole model in memory"
    assert (done.code, done.err) == (0, f"Warning: base {MODEL}@main: {told}\n")


def test_a_licence_that_is_to_be_accepted_is_told_before_anything_comes(
    at_the_hub: tuple[Hub, "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    asked = _holding(at_the_hub, tmp_path, "gated/model", {commit_of("main"): _model(tmp_path / "there")}, "main")
    done = asked.all(*([name, "--base", "gated/model"] for name in ("preflight", "plan", "base")))
    for one in done:
        assert (one.code, one.err.count("\n")) == (1, 1)
        assert one.err.startswith("Error: base gated/model@main: cannot be fetched from ")
        assert "accept the licence there and log in with `hf auth login`" in one.err
    assert asked.files == []

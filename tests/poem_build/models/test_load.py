"""Bases that are not what a base should be: one line that names the folder, whatever the libraries raise."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from poem.game import builtin_game
from poem_build.cli.options import one_line_errors
from poem_build.errors import ModelFileError
from poem_build.export.gguf import convert_folder
from poem_build.models.load import load_model, load_tokenizer, skeleton, translated
from poem_build.models.origin import Origin
from poem_build.models.shapes import of_folder
from poem_build.recipe.schema import RECIPES, Recipe

GAME = builtin_game()
ORIGIN = Origin(game="", game_digest=GAME.deck.digest, prompt_version=GAME.prompt_version)


@pytest.fixture
def base(out: Path, recipe: Recipe, tmp_path: Path) -> Path:
    assert recipe.base.path is not None
    return shutil.copytree(recipe.base.path, tmp_path / "base", ignore=shutil.ignore_patterns("artifact.json"))


def _without(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def _with(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text, "utf-8")


def _four_bit(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_without("tokenizer.json", "tokenizer_config.json"), "tokenizer.json or tokenizer.model is missing"),
        (_without("tokenizer.json"), "tokenizer.json or tokenizer.model is missing"),
        (_with("tokenizer.json", '{"a"'), "cannot be loaded: Expecting"),
        (_with("tokenizer.json", "{}"), "cannot be loaded: "),
        (_with("tokenizer.json", '{"version": "1.0", "added_tokens": []}'), "cannot be loaded: "),
        (_with("tokenizer_config.json", "[]"), "cannot be loaded: "),
    ],
    ids=["no files", "no tokenizer.json", "cut", "empty", "half", "config"],
)
def test_a_tokenizer_that_is_none_is_named(base: Path, spoil: Callable[[Path], object], told: str) -> None:
    spoil(base)
    with pytest.raises(ModelFileError) as refused:
        load_tokenizer(base)
    assert str(refused.value).startswith(f"{base}: ")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("load", [skeleton, of_folder, lambda base: load_model(base, "auto")])
def test_code_of_a_folder_is_neither_run_nor_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[Path], object]
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")
    base = shutil.copytree(RECIPES / "tiny-base", tmp_path / "base")
    (base / "x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", "utf-8")
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "x.C", "AutoTokenizer": ["x.T", None]}}
    for name in ("config.json", "tokenizer_config.json"):
        (base / name).write_text(json.dumps(json.loads((base / name).read_text("utf-8")) | own), "utf-8")
    with pytest.raises(ModelFileError) as refused:
        load(base)
    assert str(refused.value).startswith(
        f"{base}/config.json: auto_map: its architecture lives in code of its own; not"
    )
    load_tokenizer(base)  # by the class that transformers has for such a file
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            _four_bit,
            "config.json: quantization_config: the weights are quantized (bitsandbytes); give the base as it was",
        ),
        (_with("config.json", "[]"), "cannot be loaded: "),
        (_with("config.json", '{"model_type": "nothing_known"}'), "cannot be loaded: "),
        (_without("model.safetensors"), "cannot be loaded: "),
    ],
    ids=["4 bits", "no object", "unknown", "no weights"],
)
def test_weights_that_are_none_are_named(base: Path, spoil: Callable[[Path], object], told: str) -> None:
    spoil(base)
    with pytest.raises(ModelFileError) as refused:
        load_model(base, "float32")
    assert str(refused.value).startswith(str(base))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_config_that_the_converter_cannot_read_is_named(base: Path, recipe: Recipe, tmp_path: Path) -> None:
    """One that calls itself GPT-2, whose tensors have other names."""
    config = json.loads((base / "config.json").read_text("utf-8")) | {"architectures": ["GPT2LMHeadModel"]}
    (base / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelFileError, match=r"base: llama\.cpp's converter cannot take it: ValueError: Can not map "):
        convert_folder(base, tmp_path / "model.gguf", recipe, ORIGIN)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            IndexError("index -1 is out of bounds\nand more"),
            "IndexError: index -1 is out of bounds; `--debug` shows the rest",
        ),
        (AssertionError(), "AssertionError; `--debug` shows the rest"),
        (ModelFileError("x: is none"), "x: is none"),
        (PermissionError(13, "Permission denied", "/there"), "/there: Permission denied; free space or correct the "),
    ],
)
def test_whatever_is_raised_becomes_one_line_and_debug_shows_it(error: Exception, line: str) -> None:
    with pytest.raises(click.ClickException) as shown, one_line_errors(debug=False):
        raise error
    assert shown.value.message.startswith(line)
    assert "\n" not in shown.value.message
    with pytest.raises(type(error)), one_line_errors(debug=True):
        raise error


@pytest.mark.parametrize("error", [click.UsageError("wrong"), click.Abort(), click.exceptions.Exit(3)])
def test_what_click_raises_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as same, one_line_errors(debug=False):
        raise error
    assert same.value is error


def test_a_command_on_such_a_base_says_one_line(out: Path, base: Path, recipe_file: Path, tmp_path: Path) -> None:
    shutil.copytree(out / "dataset", tmp_path / "out" / "dataset")
    _four_bit(base)
    options = ["--recipe", str(recipe_file), "--base", str(base), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", "from poem_build.cli.main import main; main()", "train", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {base}/config.json: quantization_config: ")
    assert done.stderr.count("\n") == 1


def test_memory_that_runs_out_is_no_fault_of_the_folder(tmp_path: Path) -> None:
    for error in (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), MemoryError()):
        with pytest.raises(type(error)), translated(tmp_path):
            raise error

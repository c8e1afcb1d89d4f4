"""The chain itself, on a model of one layer: what each stage leaves, and what it refuses."""

import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen2Config

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.cli.main import cli
from poem_build.data.examples import read_examples
from poem_build.engine.embedded import apart
from poem_build.engine.llama import Llama
from poem_build.engine.protocol import Question
from poem_build.errors import ArtifactError, GateError, ModelFileError, RecipeError
from poem_build.evaluation import gates, measures, stage
from poem_build.evaluation.answers import read_rows
from poem_build.evaluation.bootstrap import Estimate
from poem_build.evaluation.report import FILE as REPORT
from poem_build.evaluation.report import Figure, read_evaluation
from poem_build.export import quantization
from poem_build.export.parity import random_texts
from poem_build.judge import verify
from poem_build.judge.protocol import FILE, Score, read_verdicts, score
from poem_build.judge.rules import Rules, play_file
from poem_build.models.converter import gguf
from poem_build.models.family import family
from poem_build.models.files import CREATE, F16, SERVED
from poem_build.models.load import load_adapted, load_model, load_tokenizer
from poem_build.models.origin import read_origin
from poem_build.models.standing import Standing, read_standing
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.store.artifact import Artifact
from poem_build.store.stage import Finished
from poem_build.train.adapter import TrainReport
from support.chain import changed, planted, workshop_of
from support.evaluations import eval_report
from support.tiny_gguf import write_tiny_gguf

SAMPLING = {"temp": 0.7, "top_p": 0.95, "top_k": 40, "min_p": 0.02, "penalty_repeat": 1.1}
"""What the recipe has, by llama.cpp's names."""
GOLDEN = Path(__file__).parents[1] / "golden"
GAME = builtin_game()


def test_every_stage_is_made_and_then_kept(chain: dict[str, Artifact], out: Path, recipe_file: Path) -> None:
    done = CliRunner().invoke(cli, ["train", "--recipe", str(recipe_file), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["stage"], told["reused"], told["path"]) == ("train", True, str(out / "adapter"))
    assert all((made.path / "artifact.json").is_file() for made in chain.values())
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == {".lock", ".digests.json"}


def test_training_lowers_the_loss_on_answers(chain: dict[str, Artifact]) -> None:
    loss = chain["adapter"].report(TrainReport).valid_loss
    assert loss.after < loss.before


def test_the_merge_is_the_formula(chain: dict[str, Artifact], out: Path, recipe: Recipe) -> None:
    base = load_file(out / "base-2" / "model.safetensors")
    merged = load_file(out / "merged" / "model.safetensors")
    adapter = load_file(out / "adapter" / "adapter_model.safetensors")
    name = "model.layers.0.mlp.down_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    scale = recipe.training.lora_alpha / recipe.training.r
    expected = (base[f"{name}.weight"].float() + (b.float() @ a.float()) * scale).to(torch.bfloat16)
    assert torch.equal(merged[f"{name}.weight"], expected)
    assert not torch.equal(merged[f"{name}.weight"], base[f"{name}.weight"])
    changed = (merged["model.embed_tokens.weight"] != base["model.embed_tokens.weight"]).any(dim=1)
    tokenizer = load_tokenizer(out / "base-2")
    new = {i for text in recipe.training.new_tokens for i in tokenizer.encode(text)}
    assert set(changed.nonzero().flatten().tolist()) == new


def test_the_gguf_is_quantized_and_knows_its_prompt_and_game(chain: dict[str, Artifact]) -> None:
    path = chain["gguf"].path / SERVED
    types = quantization.tensor_types(path)
    assert types["Q4_K"] + types["Q6_K"] == sum(types.values()) - types["F32"]
    reader = gguf().GGUFReader(path)
    assert reader.get_field("mansion_poem.prompt_version").contents() == GAME.prompt_version
    assert reader.get_field("mansion_poem.game") is None  # the built-in one has no name
    assert reader.get_field("mansion_poem.game_digest").contents() == GAME.deck.digest
    assert reader.get_field("general.name").contents() == "mini"
    told = {name: reader.get_field(f"general.sampling.{name}").contents() for name in SAMPLING}
    assert told == pytest.approx(SAMPLING)
    assert "tools" not in reader.get_field("tokenizer.chat_template").contents()


def test_another_pre_tokenizer_is_caught_by_token_parity_and_goes_no_further(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe: Recipe
) -> None:
    shutil.copytree(out, tmp_path / "out")
    wrong = changed(recipe, "base", pre_tokenizer="gpt-2")
    for name in ("convert", "quantize"):
        with pytest.raises(GateError, match=r"base\.pre_tokenizer: \d+ of 50 texts get other token ids"):
            pipeline.make(workshop_of(wrong, tmp_path / "out"), name)
    assert workshop_of(wrong, tmp_path / "out").look("train").reason == ""


def test_parity_texts_hold_what_bites() -> None:
    joined = "".join(random_texts(200, GAME, ["<|im_start|>"]))
    assert all(piece in joined for piece in ("<|im_start|>", "\n", "　", "Ａ", "🏢", "が"))


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_a_gguf_cut_short_is_refused_in_one_line(chain: dict[str, Artifact], tmp_path: Path, keep: float) -> None:
    whole = (chain["f16"].path / F16).read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ModelFileError, match=r"cut\.gguf"):
        quantization.tensor_types(cut)
    with pytest.raises(ModelFileError, match=r"cut\.gguf"):
        Llama(cut)


def test_an_artifact_that_was_cut_is_not_taken(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe_file: Path
) -> None:
    shutil.copytree(out, tmp_path / "out")
    path = tmp_path / "out" / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    done = CliRunner().invoke(cli, ["merge", "--recipe", str(recipe_file), "--out", str(tmp_path / "out")])
    told = "adapter_model.safetensors is missing or was changed; `poem-build run` makes it"
    assert (done.exit_code, done.output) == (1, f"Error: {tmp_path / 'out' / 'adapter'}: train: {told}\n")


def test_an_adapter_of_another_base_and_a_cut_base_are_refused(
    chain: dict[str, Artifact], out: Path, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_config(Qwen2Config(hidden_size=64, intermediate_size=64, num_hidden_layers=1))
    with pytest.raises(ModelFileError, match=r"adapter: cannot be loaded: "):
        load_adapted(model, out / "adapter")
    shutil.copytree(out / "base-2", tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match=r"base: cannot be loaded: "):
        load_model(tmp_path / "base", "float32")
    with pytest.raises(ModelFileError, match=r"nowhere: cannot be loaded: "):
        load_tokenizer(tmp_path / "nowhere")


def test_an_engine_that_dies_is_an_error_and_not_the_end(recipe: Recipe, tmp_path: Path) -> None:
    # A character that the vocabulary cannot spell, and that the grammar asks for, ends the process.
    path = write_tiny_gguf(tmp_path / "model.gguf", bytes_too=False)
    asked = Question([{"role": "user", "content": "家"}], 0, ("𠮷野家",))
    with (
        apart(path, family(recipe.base.family), recipe.serve) as engine,
        pytest.raises(ModelFileError, match=r"model\.gguf: llama\.cpp died while generating"),
    ):
        engine.ask(asked)


def test_a_damaged_model_is_named_by_the_engine_in_its_own_process(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with (
        apart(path, family(recipe.base.family), recipe.serve) as engine,
        pytest.raises(ModelFileError, match=r"model\.gguf: llama\.cpp cannot load it; it is cut short or no GGUF"),
    ):
        engine.ask(Question([{"role": "user", "content": "家"}], 0))


def test_a_context_too_short_for_the_examples_is_refused(
    chain: dict[str, Artifact], out: Path, recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(out, tmp_path / "out")
    workshop = workshop_of(changed(recipe, "serve", num_ctx=300), tmp_path / "out")
    with pytest.raises(RecipeError, match=r"recipe mini: serve\.num_ctx: examples have up to \d+ tokens, prompts \d+"):
        list(pipeline.run_all(workshop))


def test_samples_show_every_poem(chain: dict[str, Artifact], out: Path, recipe_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "samples.md"
    done = CliRunner().invoke(cli, ["samples", "--recipe", str(recipe_file), "--out", str(out), "--to", str(page)])
    assert (done.exit_code, done.output) == (0, f"{page}: 50 composed, 6 by the model\n")
    text = page.read_text("utf-8")
    assert text.count("\n### ") == 56
    assert [path.name for path in page.parent.iterdir()] == ["samples.md"]


def test_a_base_that_is_not_there_is_refused(out: Path, tmp_path: Path, recipe: Recipe) -> None:
    shutil.copytree(out / "dataset", tmp_path / "dataset")
    nowhere = workshop_of(changed(recipe, "base", path=tmp_path / "nowhere"), tmp_path)
    with pytest.raises(ArtifactError) as refused:
        nowhere.make("train")
    told = "no base there, or `poem-build base` has not made it; give a folder with one"
    assert str(refused.value) == f"{tmp_path / 'nowhere'}: base: {told}"


def test_the_modelfile_is_the_golden_one_and_says_what_the_request_says(chain: dict[str, Artifact], out: Path) -> None:
    text = (out / "Modelfile").read_text("utf-8")
    golden = (GOLDEN / "Modelfile").read_text("utf-8")
    assert text == golden.replace("(the game's instructions)", GAME.instructions)
    fields = json.loads((chain["modelfile"].path / CREATE).read_text("utf-8"))
    assert fields["system"] == GAME.instructions
    assert f'SYSTEM """{fields["system"]}"""' in text
    assert f'TEMPLATE """{fields["template"]}"""' in text
    for name, value in fields["parameters"].items():
        for one in value if isinstance(value, list) else [value]:
            assert f"PARAMETER {name} {one}\n" in text
    assert (out / "gguf" / SERVED).is_file()
    assert "FROM ./gguf/model-Q4_K_M.gguf\n" in text


def test_answers_have_the_shape_even_of_a_model_that_learnt_nothing(
    chain: dict[str, Artifact], out: Path, recipe: Recipe
) -> None:
    examples = read_examples(out / "dataset" / "test.jsonl", GAME)[:3]
    gguf_file = chain["gguf"].path / SERVED
    replies = play_file(gguf_file, recipe, GAME, examples, constrained=True)
    found = score([Rules().judge(example, reply, "") for example, reply in zip(examples, replies, strict=True)])
    assert found.malformed == 0
    assert found.broken.keys() <= {
        *("length", "giveaway", "repeated", "polite", "conjecture", "address", "superlative", "copied", "denial"),
        "definitions",
    }
    again = play_file(gguf_file, recipe, GAME, examples, constrained=True)
    assert [reply.text for reply in replies] == [reply.text for reply in again]


def test_what_was_answered_is_kept_with_its_verdict(chain: dict[str, Artifact]) -> None:
    verdicts = read_verdicts(chain["verify"].path / FILE)
    assert score(verdicts) == chain["verify"].report(verify.VerifyReport).score
    assert {verdict.asked for verdict in verdicts} == {"model, shape constrained"}
    assert all(json.loads(verdict.text)["title"] in verdict.candidates for verdict in verdicts)


def test_a_model_below_its_gate_is_refused_and_what_it_wrote_is_kept(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe: Recipe
) -> None:
    shutil.copytree(out, tmp_path / "out")
    workshop = workshop_of(changed(recipe, "gate", eval_pass=1.0, eval_hands=6), tmp_path / "out")
    for _ in range(2):
        with pytest.raises(
            GateError, match=r"answers\.jsonl: gate\.eval_pass: hands within all rules at the first try"
        ):
            pipeline.make(workshop, "eval")
    kept = workshop.look("eval").artifact
    assert kept is not None
    told = read_evaluation(kept.path / REPORT)
    assert (told.verdict.passed, told.verdict.reasons[0].gate) == (False, "eval_pass")
    assert told.provenance.gguf == chain["gguf"].files[SERVED]
    assert told.former is None
    assert len(told.poems) == 6
    assert told.matrix is not None
    assert told.losses is not None
    assert [one.name for one in told.quantized if one.served] == ["Q4_K_M"]
    report = kept.report(gates.EvalReport)
    rows = read_rows(kept.path / FILE)
    first = [row for row in rows if (row.writer, row.attempt) == ("model", 1)]
    found = report.figure("pass.first")
    assert found is not None
    assert (found.count, round(found.value * 6)) == (len(first), sum(row.passed for row in first))
    assert {row.writer for row in rows} == {"model", "model/free", "base/free", "composer", "hand"}


def _score(passed: int, hands: int = 100, malformed: int = 0) -> Score:
    return Score(hands=hands, passed=passed, malformed=malformed, broken={})


def _figure(name: str, value: float, writer: str = "model", low: float | None = None) -> Figure:
    low = value if low is None else low
    found = Estimate(value, low, value + (value - low), 100)
    return measures.figure(name, "", found, "share", "", writer=writer)


GOOD = {
    "eval_pass": _figure("pass.first", 0.9),
    "deliver_pass": _figure("pass.delivered", 0.95),
    "base_pass_at_most": _figure("pass.first", 0.1, "base/free"),
    "cards_above": _figure("cards.above", 2.0, low=0.5),
    "whole_sentences": _figure("sentences.whole", 0.99),
    "conceal_lemma": _figure("conceal.lemma", 0.98),
    "named_at_most": _figure("conceal.judge", 0.4),
    "values_above": _figure("values.above", 0.05, low=0.01),
    "shared_at_most": _figure("sentences.shared", 0.1),
    "self_bleu_at_most": _figure("self_bleu", 40.0),
    "answer_s_at_most": _figure("speed.answer", 20.0),
    "forgets_at_most": _figure("forgetting", 0.2),
    "points_at_least": _figure("points.judge", 70.0),
    "beats_composer": _figure("duel.composer", 0.5),
}
"""By the key of `[gate]` that has a word on it: just enough for each."""
ASKED: dict[str, float] = {
    "eval_pass": 0.9,
    "deliver_pass": 0.95,
    "base_pass_at_most": 0.1,
    "cards_above": 0.0,
    "whole_sentences": 0.99,
    "conceal_lemma": 0.98,
    "named_at_most": 0.4,
    "values_above": 0.0,
    "shared_at_most": 0.1,
    "self_bleu_at_most": 40.0,
    "answer_s_at_most": 20.0,
    "forgets_at_most": 0.2,
    "points_at_least": 70.0,
    "beats_composer": 0.5,
}
BAD = {
    "eval_pass": (_figure("pass.first", 0.89), "89.0%"),
    "deliver_pass": (_figure("pass.delivered", 0.9), "90.0%"),
    "base_pass_at_most": (_figure("pass.first", 0.12, "base/free"), "12.0%"),
    "cards_above": (_figure("cards.above", 1.0, low=-0.5), r"-0.50 .*; the model does not look at the cards"),
    "whole_sentences": (_figure("sentences.whole", 0.989), "98.90% .*, asked for at least 99.00%"),
    "conceal_lemma": (_figure("conceal.lemma", 0.97), "97.0%"),
    "named_at_most": (_figure("conceal.judge", 0.6), "60.0%"),
    "values_above": (_figure("values.above", 0.05, low=-0.01), "-1.0%"),
    "shared_at_most": (_figure("sentences.shared", 0.3), "30.0%"),
    "self_bleu_at_most": (_figure("self_bleu", 55.0), "55.0"),
    "answer_s_at_most": (_figure("speed.answer", 31.0), "31.0"),
    "forgets_at_most": (_figure("forgetting", 0.9), "0.900"),
    "points_at_least": (_figure("points.judge", 50.0), "50.0"),
    "beats_composer": (_figure("duel.composer", 0.3), "30.0%"),
}


def _finished(made: Artifact, gguf_made: Artifact, recipe: Recipe, report: object) -> Finished:
    """The artifact as if its stage had reported that."""
    assert made.manifest is not None
    told = report.model_dump(mode="json") if hasattr(report, "model_dump") else {}
    manifest = made.manifest.model_copy(update={"report": told})
    return Finished(recipe, replace(made, manifest=manifest), {"gguf": gguf_made})


@pytest.mark.parametrize("key", [None, *gates.LINES])
def test_each_gate_refuses_on_its_own_unless_the_training_was_cut_short(
    chain: dict[str, Artifact], recipe: Recipe, tmp_path: Path, key: str | None
) -> None:
    strict = changed(recipe, "gate", **ASKED)
    figures, message = dict(GOOD), ""
    if key:
        figures[key], message = BAD[key]
    report = eval_report(figures.values(), hands=100)
    with pytest.raises(GateError, match=rf"gate\.{key}: .*: {message}") if key else nullcontext():
        stage.gate(_finished(chain["verify"], chain["gguf"], strict, report))
    stage.gate(_finished(chain["verify"], _cut_short(chain["gguf"], tmp_path), strict, report))


@pytest.mark.parametrize("key", gates.LINES)
def test_what_was_not_measured_does_not_pass_and_what_is_not_asked_does(
    chain: dict[str, Artifact], recipe: Recipe, key: str
) -> None:
    report = eval_report((figure for name, figure in GOOD.items() if name != key), hands=100)
    with pytest.raises(GateError, match=rf"gate\.{key}: .*: not measured, asked for .*; give a --judge, or more hands"):
        stage.gate(_finished(chain["verify"], chain["gguf"], changed(recipe, "gate", **ASKED), report))
    lenient = changed(recipe, "gate", **dict.fromkeys(ASKED))
    stage.gate(_finished(chain["verify"], chain["gguf"], lenient, eval_report([], hands=100)))


@pytest.mark.parametrize(("passed", "malformed", "refuses"), [(5, 0, False), (4, 0, True), (9, 1, True)])
def test_the_smoke_test_refuses_too_few_and_any_that_is_no_answer(
    chain: dict[str, Artifact], recipe: Recipe, tmp_path: Path, passed: int, malformed: int, refuses: bool
) -> None:
    strict = changed(recipe, "gate", smoke_pass=0.5)
    report = verify.VerifyReport(score=_score(passed, 10, malformed))
    with pytest.raises(GateError, match=r"gate\.smoke_(pass|hands): ") if refuses else nullcontext():
        verify.gate(_finished(chain["verify"], chain["gguf"], strict, report))
    verify.gate(_finished(chain["verify"], _cut_short(chain["gguf"], tmp_path), strict, report))


@pytest.mark.parametrize(
    ("passed", "malformed", "line"),
    [
        (1, 0, "gate.smoke_pass: hands within all rules: 10.0% (1 of 10), asked for at least 40.0%"),
        (9, 1, "gate.smoke_hands: answers in no shape: 1, asked for at most 0"),
    ],
)
def test_the_stage_refuses_what_its_gate_does_and_that_stands_beside_the_model_until_it_is_let_through(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe: Recipe, passed: int, malformed: int, line: str
) -> None:
    folder = shutil.copytree(out, tmp_path / "out") / "gguf"
    shutil.rmtree(tmp_path / "out" / "verify")
    strict, found = changed(recipe, "gate", smoke_pass=0.4), [_score(9, 10), _score(passed, 10, malformed)]
    workshop = planted(strict, tmp_path / "out", "verify", lambda job: verify.VerifyReport(score=found.pop()))
    for _ in range(2):
        with pytest.raises(GateError, match=rf"verify/answers\.jsonl: {re.escape(line)}; "):
            pipeline.make(workshop, "verify")
        assert read_standing(folder) == Standing(refused=(f"verify: {line}",))
    pipeline.make(workshop, "verify", force=True)
    pipeline.settle(workshop, force=True)
    let_through = Standing(forced=(f"verify: {line}",))
    assert read_standing(folder) == let_through
    with pytest.raises(GateError):
        pipeline.settle(workshop, force=False)
    assert read_standing(folder) == let_through
    shutil.rmtree(tmp_path / "out" / "verify")
    pipeline.make(workshop, "verify")
    assert read_standing(folder) == Standing()


def _cut_short(made: Artifact, folder: Path) -> Artifact:
    origin = read_origin(made.path).model_copy(update={"cut_short": True})
    (folder / "origin.json").write_text(origin.model_dump_json(), "utf-8")
    return replace(made, path=folder)


def test_commands_end_with_one_line_of_error(tmp_path: Path, recipe_file: Path) -> None:
    done = CliRunner().invoke(cli, ["verify", "--recipe", str(recipe_file), "--out", str(tmp_path)])
    told = "dataset has to be made first (not made yet); `poem-build run` makes it"
    assert (done.exit_code, done.output) == (1, f"Error: {tmp_path / 'gguf'}: quantize: {told}\n")
    assert {path.name for path in tmp_path.iterdir()} <= {".digests.json"}


def test_a_stage_alone_refuses_a_model_of_another_recipe(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe_file: Path
) -> None:
    """`verify` once wrote a fresh verdict for a model that the recipe had left behind."""
    other = tmp_path / "mini.toml"
    other.write_text(recipe_file.read_text("utf-8").replace("r = 8", "r = 16"), "utf-8")
    done = CliRunner().invoke(cli, ["verify", "--recipe", str(other), "--out", str(out)])
    told = "quantize: train has to be made first (r was 8, is 16); `poem-build run` makes it"
    assert (done.exit_code, done.output) == (1, f"Error: {out / 'gguf'}: {told}\n")
    done = CliRunner().invoke(cli, ["run", "--why", "--recipe", str(other), "--out", str(out), "--json"])
    reasons = json.loads(done.output)["stages"]
    assert reasons["dataset"] == ""
    assert reasons["train"] == "r was 8, is 16"
    assert reasons["verify"] == "train has to be made first (r was 8, is 16)"


def test_adopting_and_collecting_are_commands(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe_file: Path
) -> None:
    shutil.copytree(out, tmp_path / "out")
    options = ["--recipe", str(recipe_file), "--out", str(tmp_path / "out")]
    manifest = tmp_path / "out" / "adapter" / "artifact.json"
    content = json.loads(manifest.read_text("utf-8"))
    content["key"]["code"]["poem_build.train.fit"] = "0" * 16
    manifest.write_text(json.dumps(content), "utf-8")
    why = CliRunner().invoke(cli, ["run", "--why", *options]).output
    assert "train: code changed: poem_build.train.fit\n" in why
    runner = CliRunner(env={"PATH": ""})
    done = runner.invoke(cli, ["run", "--adopt", "train", "--ollama", "127.0.0.1:9", "--json", *options])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.output)["stages"].values()) == {0.0}
    assert json.loads(manifest.read_text("utf-8"))["adopted"][0]["reason"] == "code changed: poem_build.train.fit"
    done = runner.invoke(cli, ["run", "--adopt", "nothing", "--ollama", "127.0.0.1:9", *options])
    assert done.exit_code == 2
    assert "nothing is no stage of this run" in done.output
    done = runner.invoke(cli, ["gc", *options])
    assert (done.exit_code, done.output) == (0, f"{tmp_path / 'out'}: 0 folders, 0.0 MB freed\n")


def test_recipes_are_listed_for_machines() -> None:
    done = CliRunner().invoke(cli, ["recipes", "--json"])
    rows = {row["name"]: row for row in json.loads(done.output)["recipes"]}
    tiny = load_recipe("tiny")
    assert rows["tiny"] == {
        "name": "tiny",
        "base": "tiny-base",
        "params": tiny.params,
        "licence": "MIT",
        "status": "proved here",
        "summary": tiny.summary,
        "shape": None,
        "family": "chatml",
        "trained": True,
    }
    assert rows["qwen2.5-72b"]["base"] == "Qwen/Qwen2.5-72B-Instruct@main"
    assert not rows["qwen2.5-72b"]["trained"]


def test_the_deck_command_counts(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["deck"])
    assert (done.exit_code, done.output) == (0, "89 cards, 9 categories, 267 wordings, 110 catchphrases\n")
    (tmp_path / "bad.json").write_text("[]", "utf-8")
    done = CliRunner().invoke(cli, ["deck", "--cards", str(tmp_path / "bad.json")])
    assert done.exit_code == 1
    assert done.output == "Error: bad.json: a hand needs cards of 5 different categories, got 0; add categories\n"
    done = CliRunner().invoke(cli, ["deck", "--game", str(tmp_path), "--cards", "x"])
    assert done.exit_code == 2


def test_what_of_a_game_is_left_out_is_said_once_on_standard_error(tmp_path: Path) -> None:
    folder = tmp_path / "Our Game!"
    folder.mkdir()
    cards = [card.as_json() | {"colour": "red"} for card in GAME.deck.cards]
    (folder / "cards.json").write_text(json.dumps(cards), "utf-8")
    (folder / "catchphrases.json").write_text(json.dumps([*GAME.deck.catchphrases, ""]), "utf-8")
    done = CliRunner().invoke(cli, ["run", "--why", "--game", str(folder), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "Warning: cards.json: keys that the game does not have are ignored: colour (89 times)",
        "Warning: catchphrases.json: entry 111 is left out: '' is no line of 1 to 400 characters",
    ]
    assert done.stdout.startswith("dataset: not made yet\n")

"""What is seen of serving: counted rightly from any answers, and measured on a real Ollama where there is one."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from poem.game import builtin_game
from poem.shape import encode
from poem_build.cli import pipeline
from poem_build.cli.main import cli
from poem_build.data.examples import Example, read_examples
from poem_build.data.hands import split_of
from poem_build.engine.protocol import Reply
from poem_build.errors import OllamaError, RecipeError
from poem_build.judge import sampling, serving
from poem_build.judge.figures import Spread
from poem_build.judge.serving import ServingReport
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact
from poem_build.store.workshop import Workshop
from support.chain import changed

Chain = dict[str, Artifact]


@pytest.fixture
def examples(out: Path) -> list[Example]:
    return read_examples(out / "dataset" / "test.jsonl", builtin_game())


def _reply(text: str, ended: str = "stop", seconds: float = 1.0) -> Reply:
    return Reply(text, ended, seconds, prompt_tokens=500, prompt_s=0.1, tokens=100, tokens_s=0.5)


def test_endings_rules_and_speed_are_counted(examples: list[Example]) -> None:
    right = [encode(example.answer) for example in examples]
    replies = [
        _reply(right[0], seconds=60),  # the first holds the loading
        _reply(right[1], seconds=2),
        _reply(right[2], "dropped", seconds=3),
        _reply(right[3], "length", seconds=4),
        _reply(encode(replace(examples[4].answer, title="候補にない題")), seconds=5),
    ]
    told = serving.served(replies, examples[:5])
    assert (told.score.hands, told.score.passed, told.score.malformed) == (5, 2, 2)
    assert told.ended == {"stop": 3, "dropped": 1, "length": 1}
    assert told.seconds == Spread(median=3.5, p95=5)
    assert told.tokens_per_second == 200.0


def test_the_prompts_figures_are_those_of_the_later_hands() -> None:
    played = serving.Played([_reply("")] * 3, [500, 12, 14])
    told = serving.prompt_figures(played, [[1, 2, 3, 4], [1, 2, 5, 6, 7], [1, 2, 5]])
    assert (told.tokens, told.new, told.evaluated) == (500, 1.5, 13)
    assert serving.prompt_figures(serving.Played([_reply("")] * 2, None), [[1], [2]]).evaluated is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "num_ctx=100",
            "'num_ctx' is no sampling setting; give one of temperature, top_p, top_k, min_p, repeat_penalty",
        ),
        ("temperature", "--try temperature: Input should be a valid number"),
        (
            "temperature=0.5,hot",
            "--try temperature=0.5,hot: Input should be a valid number, unable to parse string as a number, got 'hot'",
        ),
        ("top_p=2", "--try top_p=2: Input should be less than or equal to 1, got 2"),
    ],
)
def test_a_setting_that_no_recipe_can_have_is_refused(recipe: Recipe, given: str, message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        sampling.parse(recipe.serve, [given])
    assert message in str(refused.value)


def test_a_setting_that_is_given_twice_is_refused(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="temperature is there already; give all its values in one, with commas"):
        sampling.parse(recipe.serve, ["temperature=0.5", "temperature=0.7"])


def test_settings_are_read_as_a_recipe_would(recipe: Recipe) -> None:
    assert sampling.parse(recipe.serve, ["temperature=0.5,1", "top_k=20"]) == {"temperature": [0.5, 1.0], "top_k": [20]}


def test_settings_are_tried_on_validation_hands_that_judge_nothing(out: Path) -> None:
    found = sampling.examples_to_try(out / "dataset", builtin_game(), 20)
    assert [split_of(example.hand) for example in found] == ["valid"] * 4


def _workshop(recipe: Recipe, out: Path, host: str, log: Path) -> Workshop:
    stages = [*pipeline.STAGES, *pipeline.of_ollama(host, "mansion-poem:mini", out, log, None)]
    return Workshop(recipe, builtin_game(), out, stages)


def test_a_real_ollama_is_measured(chain: Chain, out: Path, recipe: Recipe, ollama: str, ollama_log: Path) -> None:
    few = changed(recipe, "gate", serving_hands=3, embedded_hands=1)
    workshop = _workshop(few, out, ollama, ollama_log)
    pipeline.make(workshop, "register")
    told = pipeline.make(workshop, "serving").report(ServingReport)
    assert sum(told.shaped.ended.values()) == sum(told.free.ended.values()) == 3
    assert told.shaped.score.passed == told.delivered.by_try[0]
    assert told.delivered.answered <= told.delivered.hands == 3
    assert "| delivered by the model, 3 tries | " in (out / "serving.md").read_text("utf-8")
    assert told.shaped.tokens_per_second
    assert told.prompt.evaluated == pytest.approx(told.prompt.new, abs=2)
    assert told.prompt.new < told.prompt.tokens / 1.3
    assert told.memory.ps_mb
    assert told.memory.resident_mb
    assert (told.memory.ps_mb > 1, told.memory.resident_mb > 5) == (True, True)
    assert told.embedded.hands == sum(told.embedded.sources.values()) == 1
    assert "| hands | 3 | 3 | 1 |" in (out / "serving.md").read_text("utf-8")
    assert pipeline.make(workshop, "serving").reused


def test_settings_are_tried_on_a_real_ollama(
    chain: Chain, out: Path, recipe: Recipe, recipe_file: Path, ollama: str, ollama_log: Path
) -> None:
    pipeline.make(_workshop(recipe, out, ollama, ollama_log), "register")
    options = ["--recipe", str(recipe_file), "--out", str(out), "--ollama", ollama, "--hands", "2"]
    done = CliRunner().invoke(cli, ["serving", *options, "--try", "temperature=0.2,0.9"])
    assert done.exit_code == 0, done.output
    assert sorted(line.split(" | ")[0] for line in done.output.splitlines()[2:4]) == [
        "| temperature 0.2",
        "| temperature 0.9",
    ]


def test_another_model_under_the_name_is_refused(
    chain: Chain, out: Path, recipe: Recipe, ollama: str, ollama_log: Path
) -> None:
    workshop = _workshop(recipe, out, ollama, ollama_log)
    pipeline.make(workshop, "register")
    body = {"model": "mansion-poem:mini", "from": "mansion-poem:mini", "system": "another", "stream": False}
    httpx.post(f"{ollama}/api/create", json=body, timeout=60).raise_for_status()
    with pytest.raises(
        OllamaError, match="mansion-poem:mini is not the one that was registered; `poem-build register` it"
    ):
        pipeline.make(workshop, "serving")


def test_without_an_ollama_the_command_says_so(recipe_file: Path, out: Path) -> None:
    options = ["--recipe", str(recipe_file), "--out", str(out), "--ollama", "127.0.0.1:9"]
    done = CliRunner(env={"PATH": ""}).invoke(cli, ["serving", *options])
    assert (done.exit_code, done.output) == (
        1,
        "Error: OLLAMA_HOST http://127.0.0.1:9: no Ollama answers there; start `ollama serve`\n",
    )

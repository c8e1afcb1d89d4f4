"""`eval` as a command: judges, writers, the report that it leaves, and what the model says of itself afterwards."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from poem.game import builtin_game
from poem_build.cli import reports
from poem_build.cli.main import cli
from poem_build.cli.options import choose_work
from poem_build.engine.ollama import digests
from poem_build.errors import WriterError
from poem_build.evaluation import history
from poem_build.evaluation.answers import play, write_rows
from poem_build.evaluation.hands import trials
from poem_build.evaluation.people import write_chosen
from poem_build.evaluation.report import Evaluation, Judged, read_evaluation, write_evaluation
from poem_build.evaluation.writers import Composed, Given
from poem_build.models.files import SERVED
from poem_build.models.standing import read_standing
from poem_build.ship import made
from poem_build.store.artifact import Artifact
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.evaluations import an_evaluation
from support.judges import first_come, judges
from support.lm_eval_stand_in import StandIn
from support.served import serving, until

GAME = builtin_game()


def _run(*options: Any, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["eval", *map(str, options)], env={"OPENAI_API_KEY": "", **environ})


def test_a_report_beside_other_writers_with_a_judge_of_doubtful_worth(
    chain: dict[str, Artifact],
    out: Path,
    recipe_file: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The data set says that the judge wrote it, so its poems for testing are played against, too."""
    shutil.copytree(out, tmp_path / "out")
    manifest = tmp_path / "out" / "dataset" / "artifact.json"
    content = json.loads(manifest.read_text("utf-8"))
    content["report"]["teacher"] = "openai"
    manifest.write_text(json.dumps(content), "utf-8")
    lenient = tmp_path / "mini.toml"
    more = "cards_above = -99\nconceal_lemma = 0.0\n[teacher]\nper_minute = 60000\n"
    lenient.write_text(recipe_file.read_text("utf-8") + more, "utf-8")
    prices = tmp_path / "prices.toml"
    entry = "prompt = 1\ncached = 0\noutput = 1\nsource = 'here'\ndated = 'now'"
    prices.write_text(f"yen_per_dollar = 100\nyen_source = 'here'\n[models.m]\n{entry}\n", "utf-8")
    choice = ("--recipe", lenient, "--out", tmp_path / "out", "--hands", 3, "--prices", prices)
    asked = (*choice, "--judge", "openai:m", "--judge-hands", 2, "--writers", "Q8_0, adapter")
    with judges(first_come) as bench:
        environ = {"OPENAI_BASE_URL": f"{bench.url}/v1"}
        dry = _run(*asked, "--dry-run", **environ)
        assert (dry.exit_code, bench.asked) == (0, []), dry.output
        assert dry.output.startswith("openai:m: up to 60 questions, $0.")
        done = _run(*asked, "--json", **environ)
        assert done.exit_code == 0, done.output
        first = len(bench.asked)
        again = _run(*asked, "--json", **environ)
        assert (again.exit_code, len(bench.asked)) == (0, first)
    told = json.loads(done.stdout.splitlines()[-1])
    report = read_evaluation(Path(told["path"]))
    assert report.verdict.passed
    assert report.matrix is not None
    assert report.matrix.writers == ["model", "composer", "hand", "teacher", "Q8_0", "adapter"]
    assert {one.name for one in report.provenance.judges} == {"rules", "counted", "openai:m"}
    assert report.provenance.cost_usd > 0
    (told_of,) = [one for one in report.verdict.reasons if one.what.startswith("openai:m wrote what the model learnt")]
    assert (told_of.gate, told_of.holds, told_of.refuses) == ("judge", False, False)
    ratio = report.teacher_ratio
    assert ratio is not None
    assert (ratio.judge, ratio.hands) == ("openai:m", 1)
    assert ratio.low <= ratio.mean <= ratio.high
    below = read_standing(tmp_path / "out" / "gguf").verdict
    assert below == ("below-composer" if report.verdict.below_composer else "passed")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(StandIn(tmp_path / "bin").folder))
        _assert_that_lm_eval_and_people_are_told_of(tmp_path, choice[:4])
    _assert_that_a_fall_turns_the_verdict(tmp_path, asked, environ, report)
    if shutil.which("ollama"):
        _assert_that_what_fell_is_registered_by_force_alone(tmp_path, choice[:4], request.getfixturevalue("ollama"))


def _assert_that_lm_eval_and_people_are_told_of(folder: Path, choice: tuple[Any, ...]) -> None:
    out = folder / "out"
    page = out / "eval" / "report.html"
    assert "<h1>miniの評価</h1>" in page.read_text("utf-8")
    told = _run("lm-eval", *choice).output
    assert told.splitlines()[-1] == f"lm-eval: {out / 'lm-eval'}: 2 asked, in report"
    tries = read_evaluation(out / "eval" / "report.json").harness
    assert tries is not None
    assert {(one.of, one.value) for one in tries.found} == {
        ("base", 0.75),
        ("merged", 0.75),
        ("base", 1.5),
        ("merged", 1.5),
        ("base", 0.25),
        ("merged", 0.25),
    }
    assert '<th scope="row">mansion_wording</th>' in page.read_text("utf-8")
    assert _run("read", *choice, "--count").output == f"read: {out / 'readings.jsonl'}: nobody has read yet\n"
    for pairing in reports.pairings(choose_work(str(choice[1]), None, None, out).workshop(), ("composer", "hand"), 4):
        write_chosen(out / "readings.jsonl", "はな", pairing.key(turned=False), "second")
    told = _run("read", *choice, "--count").output
    assert told.splitlines()[-1] == f"read: {out / 'readings.jsonl'}: 1 readers, 1 pairs read"
    assert "読み手" in page.read_text("utf-8")
    assert read_evaluation(out / "eval" / "report.json").provenance.judges[-1] == Judged(name="people", asked=1)

    assert _run("page", *choice, "--of", "composer", "--to", folder / "docs" / "composer.html").exit_code == 0
    assert "composerの評価" in (folder / "docs" / "composer.html").read_text("utf-8")


def _assert_that_a_fall_turns_the_verdict(
    folder: Path, asked: tuple[Any, ...], environ: dict[str, str], report: Evaluation
) -> None:
    out, choice = folder / "out", asked[:4]
    page = out / "eval" / "report.html"
    better = [one.model_copy(update={"value": 1.0, "low": 0.999, "high": 1.0}) for one in report.figures]
    planted = report.provenance.model_copy(update={"gguf": "f" * 64, "made_at": "2026-01-01T00:00:00+00:00"})
    history.keep(out / history.FOLDER, report.model_copy(update={"figures": better, "provenance": planted}))
    done = _run(*asked, **environ)
    assert (done.exit_code, f"{out / 'eval' / 'report.json'}: regression: " in done.output) == (1, True)
    assert "否 舞台には、前のビルドを。" in done.output
    assert 'class="verdict bad"' in page.read_text("utf-8")
    assert read_standing(out / "gguf").verdict in ("refused", "below-composer")
    told = _run("history", *choice).output
    assert ("ffffffff" in told, "出せない(前より落ちた)" in told) == (True, True)
    assert (out / "history" / "history.html").is_file()


def _assert_that_what_fell_is_registered_by_force_alone(folder: Path, choice: tuple[Any, ...], host: str) -> None:
    """And that the model says so from then on: beside its file, in Ollama, on its image's label, on `/ready`."""
    gguf = folder / "out" / "gguf"

    def register(*more: str) -> Result:
        return CliRunner().invoke(cli, ["register", *map(str, choice), "--ollama", host, *more])

    refused = register()
    assert (refused.exit_code, "regression: " in refused.output) == (1, True)
    assert "mansion-poem:mini" not in digests(host)
    done = register("--force")
    assert done.exit_code == 0, done.output
    forced = read_standing(gguf).forced
    assert forced
    assert all(one.startswith("eval: regression: ") for one in forced)
    told = httpx.post(f"{host}/api/show", json={"model": "mansion-poem:mini"}).json()["model_info"]
    assert told["mansion_poem.forced"] == "; ".join(forced)
    assert made.verdict(str(folder / "out")).endswith(f"forced: {'; '.join(forced)}")
    assert asyncio.run(_ready(gguf / SERVED))["forced"] == "; ".join(forced)
    httpx.request("DELETE", f"{host}/api/delete", json={"model": "mansion-poem:mini"}).raise_for_status()


async def _ready(gguf: Path) -> dict[str, Any]:
    settings = Settings.from_env({"POEM_PORT": "3001", "POEM_ENGINE": "embedded", "POEM_GGUF": str(gguf)})
    async with serving(settings) as (service, client):
        await until(service, ModelState.READY)
        found: dict[str, Any] = (await client.get("/ready")).json()
        return found


def test_all_that_people_have_read_counts_in_the_report(tmp_path: Path) -> None:
    """However many hands they were shown, and of whoever was named."""
    workshop, played = choose_work("tiny", None, None, tmp_path).workshop(), trials(GAME, 44)
    (tmp_path / "eval").mkdir()
    room, composer = tmp_path / "room", Composed(GAME)
    sheets = [play("composer", composer, played, room), play("hand", Given("hand"), played, room)]
    sheets += [play("model/free", composer, played[::-1], room)]  # with other seeds
    write_rows(tmp_path / "eval" / "answers.jsonl", sheets)
    assert reports.read_by_people(workshop) is None
    there = reports.pairings(workshop, ("composer", "model/free"), 44)
    differ = [pairing for pairing in there if pairing.default is None]
    for pairing in differ:
        write_chosen(tmp_path / "readings.jsonl", "はな", pairing.key(turned=False), "first")
    assert len(differ) > 40
    for writers, expected in (((), len(differ)), (("model/free", "composer"), len(differ)), (("composer", "hand"), 0)):
        read = reports.read_by_people(workshop, writers)
        assert (read.judged.asked if read else 0) == expected
    with pytest.raises(WriterError, match="--writers base: has not answered"):
        reports.read_by_people(workshop, ("base",))


def test_what_no_judge_can_be_is_refused_before_anything_is_played(recipe_file: Path, tmp_path: Path) -> None:
    out = ("--recipe", recipe_file, "--out", tmp_path)
    for judge, told in (
        ("composer:x", "--judge composer:x: give KIND:MODEL, the kind one of gemini, openai, anthropic, ollama"),
        ("gemini", "--judge gemini: give KIND:MODEL"),
        ("gemini:gemini-2.5-flash", "GEMINI_API_KEY: not set"),
        ("ollama:", "--judge ollama:: give KIND:MODEL"),
    ):
        done = _run(*out, "--judge", judge, GEMINI_API_KEY="")
        assert done.exit_code == 1
        assert done.output.startswith(f"Error: {told}")
    assert _run(*out, "--writers", "nobody").output.startswith("Error: --writers nobody: nobody is called so")
    twice = ("--judge", "ollama:m", "--judge", "ollama:m")
    assert _run(*out, *twice).output == "Error: --judge ollama:m: is there twice; give each once\n"
    gone = f"embedded:{tmp_path / 'gone.gguf'}"
    told = f"Error: --writers {tmp_path / 'gone.gguf'}: there is no such file; give another\n"
    assert _run(*out, "--writers", gone).output == told
    assert _run(*out, "--dry-run").output == "no --judge: nobody is paid\n"


def test_damaged_files_are_named_in_one_line_and_of_a_history_left_out(tmp_path: Path) -> None:
    out = ("--out", tmp_path)
    for folder in (tmp_path / "eval", tmp_path / history.FOLDER):
        folder.mkdir()
    write_evaluation(tmp_path / history.FOLDER / "b.json", an_evaluation())
    (tmp_path / history.FOLDER / "a.json").write_bytes(b"\xff\xfe")
    report, answers = (tmp_path / "eval" / name for name in ("report.json", "answers.jsonl"))
    for damage in (b"\xff\xfe\n", b"{\n", b"[]\n"):
        report.write_bytes(damage)
        answers.write_bytes(damage)
        for command, path in ((("read", "--count"), answers), (("page", "--to", tmp_path / "page.html"), report)):
            done = _run(*command, *out)
            assert (done.exit_code, done.output.count("\n")) == (1, 1)
            assert done.output.startswith(f"Error: {path}: ")
            assert done.output.endswith("; `poem-build eval` makes it anew\n")
    done = _run("history", *out)
    assert done.exit_code == 0
    assert done.stderr.startswith(f"Warning: {tmp_path / 'history' / 'a.json'}: report: Invalid JSON")
    assert done.stdout.splitlines()[-1].endswith("history.html: 1 reports, the last one did not fall")
    answers.write_bytes(b"")
    told = "Error: nothing to choose between: no hand has poems of two of these writers; name others\n"
    assert _run("read", *out).output == told

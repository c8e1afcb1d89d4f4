import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.cli.main import cli
from poem_build.data.examples import read_examples
from poem_build.data.hands import SPLITS
from poem_build.recipe.schema import Recipe
from support.chain import changed, workshop_of
from support.gemini_stand_in import KEY, Fault, GeminiStandIn

GAME = builtin_game()
USAGE = ("Invalid value", "both say", "goes with")
"""What click itself refuses with status 2 says one of these."""
COMMAND = [sys.executable, "-c", "from poem_build.cli.main import main; main()", "teacher", "run"]


def _run(*options: Any, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["teacher", "run", *map(str, options)], env=environ)


def _environ(gemini: GeminiStandIn) -> dict[str, str]:
    return {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": gemini.url}


@pytest.fixture
def fast(tmp_path: Path, recipe_file: Path) -> Path:
    """A recipe whose teacher may be asked at any rate."""
    path = tmp_path / "fast.toml"
    text = recipe_file.read_text("utf-8")
    path.write_text(
        text + '[teacher]\nname = "gemini"\nper_minute = 60000\nat_once = 4\n[teacher.quotas]\nleast = 0\n', "utf-8"
    )
    return path


def test_a_dry_run_says_what_it_takes_and_asks_nothing(gemini: GeminiStandIn, fast: Path, tmp_path: Path) -> None:
    done = _run("--recipe", fast, "--out", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "gemini gemini-2.5-flash, if nothing is asked twice"
    assert [line.split()[2] for line in lines[1:5]] == ["100", "500", "5,000", "50,000"]
    assert not (tmp_path / "out").exists()
    assert gemini.asked == []


def test_what_is_answered_already_is_taken_over_and_not_reckoned_again(
    gemini: GeminiStandIn, fast: Path, tmp_path: Path
) -> None:
    def now(room: Path, *options: Any) -> str:
        done = _run("--recipe", fast, "--out", room, "--dry-run", *options)
        assert done.exit_code == 0, done.output
        return done.output.splitlines()[-1]

    out, other = tmp_path / "artifacts" / "one", tmp_path / "artifacts" / "other"
    fresh = now(out, "--hands", 10)
    assert fresh.startswith("now:      10 asks ")
    assert "taken over" not in fresh
    for what in ("poems", "table"):
        done = _run("--recipe", fast, "--out", out, "--what", what, "--hands", 10, **_environ(gemini))
        assert done.exit_code == 0, done.output
        assert fresh in done.stderr.splitlines()
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        told = now(out, "--what", what, "--hands", 20)
        assert told == f"{fresh}; 10 are answered and taken over"  # the ten that are missing take what ten take
        assert now(other, "--what", what, "--hands", 20) == told
        assert now(out, "--what", what, "--hands", 10) == "now: nothing is asked; 10 are answered and taken over"
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert not other.exists()
    assert now(out, "--hands", 10, "--teacher", "composer").endswith("out  $   0.0000  ¥      0.0")  # it begins anew


def test_a_data_set_is_written_with_its_report_and_ledger_and_a_model_is_taught_by_it(
    gemini: GeminiStandIn, fast: Path, tmp_path: Path, recipe: Recipe
) -> None:
    out = tmp_path / "out"
    done = _run("--recipe", fast, "--out", out, "--hands", 30, "--json", **_environ(gemini))
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["poems"], told["asked"], told["problems"]) == (30, len(gemini.asked), {})
    report = json.loads((out / "teacher" / "poems" / "report.json").read_text("utf-8"))
    assert [one["chats"] for one in report["files"].values()] == [24, 3, 3]
    real = (gemini.prompt_tokens * 0.30 + gemini.output_tokens * 2.50) / 1e6
    assert told["ledger"]["usd"] == pytest.approx(real, abs=1e-5)
    splits = {split: read_examples(out / "teacher" / "poems" / f"{split}.jsonl", GAME) for split in SPLITS}
    assert [len(splits[split]) for split in SPLITS] == [24, 3, 3]
    taught = changed(recipe, "dataset", taught=out / "teacher" / "poems")
    made = pipeline.make(workshop_of(taught, out), "dataset")
    assert [len(read_examples(made.path / f"{split}.jsonl", GAME)) for split in SPLITS] == [24, 3, 3]
    about = json.loads((made.path / "dataset.json").read_text("utf-8"))
    assert about["teacher"] == "gemini"
    assert about["cost_usd"] == told["ledger"]["usd"]
    stranger = tmp_path / "a stranger's" / "teacher"
    stranger.mkdir(parents=True)
    (stranger / "poems-gemini-gemini-2.5-flash.jsonl").write_text("no journal\n", "utf-8")
    other = _run("--recipe", fast, "--out", tmp_path / "another recipe's", "--hands", 30, "--json", **_environ(gemini))
    again = json.loads(other.stdout.splitlines()[-1])
    assert (again["poems"], again["asked"], again["ledger"]["usd"]) == (30, 0, 0)
    about = json.loads((tmp_path / "another recipe's" / "teacher" / "poems" / "teacher.json").read_text("utf-8"))
    assert (about["teacher"], about["model"], about["cost_usd"]) == (
        "gemini",
        "gemini-2.5-flash",
        told["ledger"]["usd"],
    )
    mine, line = splits["test"][0], tmp_path / "by hand.jsonl"
    line.write_text(json.dumps({"pairs": mine.hand.ids(), "title": mine.answer.title, "poem": mine.answer.poem}))
    given = ["teacher", "import", line, "--recipe", fast, "--out", out, "--hands", 30]
    assert CliRunner().invoke(cli, [*map(str, given)]).exit_code == 0
    about = json.loads((out / "teacher" / "poems" / "teacher.json").read_text("utf-8"))
    assert (about["teacher"], about["model"]) == ("files+gemini", "gemini-2.5-flash")
    assert 0.9 * told["ledger"]["usd"] < about["cost_usd"] < told["ledger"]["usd"]  # one poem cost nothing
    assert KEY not in "".join(path.read_text("utf-8") for path in out.rglob("*.json*"))


def test_a_prompt_that_is_not_kept_is_told_once(gemini: GeminiStandIn, fast: Path, tmp_path: Path) -> None:
    gemini.least_cached = 100_000
    fast.write_text(fast.read_text("utf-8").replace("at_once = 4", "at_once = 4\ncache_ttl_s = 60"), "utf-8")
    done = _run("--recipe", fast, "--out", tmp_path / "out", "--hands", 10, **_environ(gemini))
    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert told == [
        "Warning: the fixed prompt is not kept but sent each time: gemini: gemini-2.5-flash: status 400: "
        "Cached content is too small."
    ]


def test_a_phase_waits_for_its_gate_and_force_is_recorded(fast: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = _run("--recipe", fast, "--out", out, "--phase", 1, "--teacher", "composer")
    assert done.exit_code == 1
    work = f"--recipe {fast} --out {out}"
    assert done.output.splitlines()[-1] == (
        f"Error: {out / 'eval' / 'report.json'}: is not there; phase 1 needs the report on phase 0: "
        f"`poem-build teacher run {work} --teacher composer --phase 0 && poem-build run {work} --taught "
        f"{out / 'teacher' / 'poems'} && poem-build eval {work} --taught {out / 'teacher' / 'poems'}` makes it; "
        "--force goes on without, and is recorded"
    )
    assert not (out / "teacher").exists()
    forced = _run("--recipe", fast, "--out", out, "--phase", 1, "--teacher", "composer", "--force")
    assert forced.exit_code == 0, forced.output
    assert json.loads((out / "teacher" / "poems" / "teacher.json").read_text("utf-8"))["forced"] is True


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        (
            [],
            {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": "here:80"},
            "GEMINI_BASE_URL: 'here:80' is no address; give an http or https URL",
        ),
        (
            [],
            {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": "http://["},
            "GEMINI_BASE_URL: 'http://[' is no address; give an http or https URL",
        ),
        (["--max-cost", "nan"], {}, "Invalid value for '--max-cost': 'nan' is not allowed; give yen from 0"),
        (["--max-cost", "inf"], {}, "Invalid value for '--max-cost': 'inf' is not allowed; give yen from 0"),
        ([], {"GEMINI_API_KEY": ""}, "Error: GEMINI_API_KEY: not set; export the key, it is written nowhere"),
        (["--model", "gemini-9"], {"GEMINI_API_KEY": KEY}, "no price for 'gemini-9'"),
        (
            ["--teacher", "openai", "--model", "gemini-2.5-flash"],
            {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""},
            "OPENAI_API_KEY: not set",
        ),
        (["--teacher", "openai"], {}, "--model: 'gemini-2.5-flash' is none of openai's; name the one"),
        (["--phase", "2"], {}, "--phase 2 and --hands 10 both say how many hands; give one of them"),
        (["--what", "table", "--phase", "2"], {}, "--phase goes with --what poems, not table; leave it out"),
        (["--what", "words", "--phase", "0"], {}, "--phase goes with --what poems, not words; leave it out"),
        (["--what", "words"], {}, "--hands goes with --what poems or table, not words; leave it out"),
        (["--hands", "5001"], {}, "phase 3 needs the report on phase 2"),
        (["--teacher", "composer", "--batch"], {}, "--batch: composer has no batches here"),
    ],
)
def test_what_cannot_be_begun_is_one_line(
    fast: Path, tmp_path: Path, options: list[str], environ: dict[str, str], message: str
) -> None:
    prices = tmp_path / "prices.toml"
    listed = 'yen_per_dollar = 150\nyen_source = "a test"\n[models."gemini-2.5-flash"]\n'
    prices.write_text(listed + 'prompt = 1\ncached = 1\noutput = 1\nsource = "a test"\ndated = "2026"\n', "utf-8")
    given = ["--recipe", fast, "--out", tmp_path / "out", "--hands", 10]
    done = _run(*given, "--prices", prices, *options, **environ)
    assert done.exit_code == (2 if any(sign in message for sign in USAGE) else 1)
    assert message in done.output
    assert "Traceback" not in done.output
    if done.exit_code == 1:
        assert done.output.splitlines()[-1].startswith("Error: ")


def _killed(gemini: GeminiStandIn, fast: Path, out: Path, kills: int, hands: int) -> None:
    """Run the command again and again, killing it at any moment, then to its end."""
    environ = {**os.environ, **_environ(gemini)}
    command = [*COMMAND, "--recipe", str(fast), "--out", str(out), "--hands", str(hands), "--json", "--force"]
    rng = Random(0)
    journal = out / "teacher" / "poems-gemini-gemini-2.5-flash.jsonl"
    for _ in range(kills):
        before = journal.stat().st_size if journal.is_file() else 0
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not journal.is_file() or journal.stat().st_size <= before):
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if rng.random() < 0.3:  # and the last line may be torn
            content = journal.read_bytes()
            if b'"answered"' not in content.splitlines()[-1]:
                journal.write_bytes(content[: -rng.randint(1, 20)])
    subprocess.run(command, env=environ, check=True, capture_output=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_what_is_out_and_asks_nothing_new(
    gemini: GeminiStandIn, fast: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    gemini.slow_s, gemini.write = 1.0, lambda *_: "{}"  # each hand would be asked for again
    room = tmp_path / "out" / "teacher"
    process = _begun(gemini, fast, room.parent)
    journal = room / "poems-gemini-gemini-2.5-flash.jsonl"
    _until(lambda: _told(journal)["answered"] >= 4 and _told(journal)["asked"] == 8)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, _told(journal), len(gemini.asked)) == (code, Counter(asked=8, answered=8), 8)
    assert "What is out is waited for, 30 s at most" in said
    assert "Traceback" not in said
    paid = json.loads((room / "ledger.json").read_text("utf-8"))["poems"]
    assert (paid["models"]["gemini-2.5-flash"]["answers"], paid["in_doubt_usd"]) == (8, 0)


@pytest.mark.parametrize("what", ["poems", "table"])
def test_a_run_that_stops_leaves_its_ledger(gemini: GeminiStandIn, fast: Path, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    gemini.faults = [*[Fault()] * 8, Fault(status=403)]
    done = _run("--recipe", fast, "--out", out, "--what", what, "--hands", 30, **_environ(gemini))
    assert (done.exit_code, "status 403" in done.output) == (1, True)
    paid = json.loads((out / "teacher" / "ledger.json").read_text("utf-8"))[what]
    real = (gemini.prompt_tokens * 0.30 + gemini.output_tokens * 2.50) / 1e6
    assert paid["models"]["gemini-2.5-flash"]["answers"] == len(gemini.asked) >= 8
    assert paid["usd"] == pytest.approx(real, abs=1e-6)


def test_a_second_signal_leaves_at_once(gemini: GeminiStandIn, fast: Path, tmp_path: Path) -> None:
    gemini.slow_s = 60.0
    process = _begun(gemini, fast, tmp_path / "out")
    journal = tmp_path / "out" / "teacher" / "poems-gemini-gemini-2.5-flash.jsonl"
    _until(lambda: _told(journal)["asked"] == 4)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "What is out" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=25)  # sooner than the 30 s
    assert process.returncode == 143
    assert _told(journal) == Counter(asked=4)


def test_what_is_out_in_a_batch_is_not_asked_without_it(gemini: GeminiStandIn, fast: Path, tmp_path: Path) -> None:
    out, gemini.batch_polls = tmp_path / "out", 10**6
    process = _begun(gemini, fast, out, "--batch")
    _until(lambda: any(batch["polls"] for batch in gemini.batches.values()))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    given = ["--recipe", fast, "--out", out, "--hands", 30]
    dry = _run(*given, "--dry-run")
    assert dry.output.splitlines()[-1] == "now: nothing is asked; 30 are out in a batch"
    done = _run(*given, **_environ(gemini))
    assert (done.exit_code, len(gemini.asked)) == (1, 30)
    assert done.output.splitlines()[-1] == "Error: 30 questions are out in a batch; --batch fetches them"
    gemini.batch_polls = 0
    done = _run(*given, "--batch", "--json", **_environ(gemini))
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["poems"], told["asked"], told["ledger"]["in_doubt_usd"], len(gemini.batches)) == (30, 0, 0, 1)


def _begun(gemini: GeminiStandIn, fast: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "--recipe", str(fast), "--out", str(out), "--hands", "30", *options]
    environ = {**os.environ, **_environ(gemini)}
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _told(journal: Path) -> Counter[str]:
    """How many questions went out, and how many answers came."""
    lines = journal.read_bytes().splitlines() if journal.is_file() else []
    return Counter(kind for line in lines for kind in ("asked", "answered") if line.startswith(f'{{"{kind}"'.encode()))


def _until(so: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not so():
        assert time.monotonic() - begun < 60
        time.sleep(0.01)


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.long)])
def test_a_kill_loses_nothing_and_pays_for_nothing_twice(
    gemini: GeminiStandIn, fast: Path, tmp_path: Path, kills: int
) -> None:
    hands = max(40, kills * 4)
    gemini.slow_s = 0.02
    _killed(gemini, fast, tmp_path / "out", kills, hands)
    room = tmp_path / "out" / "teacher"
    lines = [json.loads(line) for line in (room / "poems-gemini-gemini-2.5-flash.jsonl").read_bytes().splitlines()]
    taken = Counter(line["answered"] for line in lines if "answered" in line and not line["verdict"])
    assert set(taken.values()) == {1}  # nothing that was there was asked again
    answered = sum("answered" in line for line in lines)
    assert answered <= len(gemini.asked) <= answered + 4 * kills  # only what was out at the moment of a death
    paid = json.loads((room / "ledger.json").read_text("utf-8"))["poems"]
    real = (gemini.prompt_tokens * 0.30 + gemini.output_tokens * 2.50) / 1e6
    assert paid["usd"] - 1e-6 <= real <= paid["usd"] + paid["in_doubt_usd"] + 1e-6
    undisturbed = tmp_path / "elsewhere" / "undisturbed"  # beside the other it would take over its answers
    done = _run("--recipe", fast, "--out", undisturbed, "--hands", hands, "--force", **_environ(gemini))
    assert done.exit_code == 0, done.output
    for split in SPLITS:
        name = f"{split}.jsonl"
        assert (room / "poems" / name).read_bytes() == (undisturbed / "teacher" / "poems" / name).read_bytes()

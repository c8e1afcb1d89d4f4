"""All writers on one page: each with its row, in the figures and against every other."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from poem.game import builtin_game
from poem.table import Entry, write_table
from poem_build.cli import pipeline
from poem_build.cli.main import cli
from poem_build.evaluation import hands
from poem_build.evaluation.report import FILE, MODEL, Evaluation, Figure, read_evaluation
from poem_build.models.files import SERVED
from poem_build.recipe.schema import load_recipe
from poem_build.report import evaluation_page, words
from poem_build.report.beside import beside
from poem_build.report.crosstable import crosstables
from support.browser import CHROMIUM, browsing
from support.chain import changed, workshop_of
from support.evaluations import an_evaluation
from support.proxies import PROXIES
from support.tables import Tables

GAME = builtin_game()
HANDS = 6
BESIDE, CROSS = "書き手くらべの表", "総当たりの表 数えた点 全体"


def _told(figure: Figure) -> str:
    return f"{words.value(figure.value, figure.unit)} {words.interval(figure)}"


def test_a_duel_is_told_from_both_ends_and_the_strongest_stands_on_top() -> None:
    matrix = an_evaluation().matrix
    assert matrix is not None
    first, second = crosstables(matrix)
    assert [(one.judge, one.aspect) for one in (first, second)] == [
        ("counted", "overall"),
        ("ollama:judge-7b", "overall"),
    ]
    assert [row.score.score for row in first.rows] == sorted((row.score.score for row in first.rows), reverse=True)
    order = [row.writer for row in first.rows]
    for duel in (one for one in matrix.duels if one.judge == "counted"):
        one, other = order.index(duel.first), order.index(duel.second)
        assert first.rows[one].against[other] == duel.share
        back = first.rows[other].against[one]
        assert back is not None
        assert (back.value, back.low, back.high) == pytest.approx(
            (1 - duel.share.value, 1 - duel.share.high, 1 - duel.share.low)
        )
    assert [row.against[n] for n, row in enumerate(first.rows)] == [None] * 3
    won, lost = (sum(getattr(row, end) for row in first.rows) for end in ("won", "lost"))
    assert won == lost > 0


def test_a_table_without_a_poem_for_these_hands_has_a_row_that_says_so() -> None:
    report = an_evaluation()
    assert report.matrix is not None
    table = report.matrix.model_copy(update={"writers": [*report.matrix.writers, "table:empty.sqlite"]})
    weighed = report.figures[0].model_copy(update={"name": "cards.above", "writer": "base"})
    report = report.model_copy(update={"matrix": table, "poems": [], "figures": [*report.figures, weighed]})
    assert [(row.writer, row.hands) for row in beside(report, ["pass.first"]).rows] == [
        ("model", 400),
        ("composer", 400),
        ("hand", 0),
        ("table:empty.sqlite", 0),
    ]
    rows = Tables(evaluation_page.render(report, [])).rows[BESIDE]
    assert rows[-1] == ["控えの表 empty.sqlite", "0", "この手札には一篇もない"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Q8_0/free", "Q8_0(型なし)"),
        ("table:t.sqlite", "控えの表 t.sqlite"),
        ("embedded:/a/b/c/gguf/model-Q4_K_M.gguf/free", "GGUF …/c/gguf/model-Q4_K_M.gguf(型なし)"),
        ("ollama:mansion-poem:tiny", "Ollama mansion-poem:tiny"),
    ],
)
def test_a_writer_is_called_by_what_it_is_and_where_it_lies(name: str, told: str) -> None:
    assert words.writer(name) == told


@pytest.mark.long
async def test_all_local_writers_of_tiny_are_on_one_page_made_by_one_command(
    tiny: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    names, options = _local_writers(tiny, tmp_path, request)
    command = ["eval", "--recipe", "tiny", "--out", str(tiny), "--hands", str(HANDS), *options]
    done = CliRunner().invoke(cli, [*command, "--writers", ",".join(names)], env=PROXIES)
    assert done.exit_code == 0, done.output
    report = read_evaluation(tiny / "eval" / FILE)
    writers = [MODEL, "model/free", "base/free", "composer", "hand", *names]
    assert report.provenance.hands == HANDS
    assert report.matrix is not None
    assert report.matrix.writers == [MODEL, "composer", "hand", *names]
    page = Tables((tiny / "eval" / evaluation_page.FILE).read_text("utf-8"))
    assert page.addresses == []
    _assert_that_the_page_has_the_report_s_figures(page, report, writers)
    assert all(words.writer(name) in done.output for name in writers)
    if CHROMIUM:
        (tmp_path / "profile").mkdir()
        async with browsing(tmp_path / "profile", (tiny / "eval" / evaluation_page.FILE).as_uri(), 1280, 900) as tab:
            await tab.until("document.readyState === 'complete'")
            assert await tab.run("performance.getEntriesByType('resource').length") == 0
            assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
            assert tab.complaints == []


def _assert_that_the_page_has_the_report_s_figures(page: Tables, report: Evaluation, writers: list[str]) -> None:
    """In both tables a row for every writer, and in every cell what `report.json` has, the interval with it."""
    (head, *rows) = page.rows[BESIDE]
    by_writer = {row[0]: row for row in rows}
    assert list(by_writer) == [words.writer(name) for name in writers]
    columns = ["pass.delivered", "pass.first", "conceal.lemma", "sentences.whole"]
    assert head[2:6] == [words.SHORT[name] for name in columns]
    for name in writers:
        figures = [report.figure(column, name) for column in columns]
        assert by_writer[words.writer(name)][2:6] == [_told(one) if one else "なし" for one in figures]
        assert figures[0] is not None
        assert int(by_writer[words.writer(name)][1]) == figures[0].count > 0
    assert report.matrix is not None
    strengths = {one.writer: one for one in report.matrix.scores}
    (_, *rows) = page.rows[CROSS]
    ranked = sorted(report.matrix.writers, key=lambda name: -strengths[name].score)
    assert [row[0] for row in rows] == [f"{n} {words.writer(name)}" for n, name in enumerate(ranked, 1)]
    for row, name in zip(rows, ranked, strict=True):
        value, low, high = (words.strength(getattr(strengths[name], end)) for end in ("score", "low", "high"))
        assert row[1] == f"{value} {low}〜{high}"
    for duel in report.matrix.duels:
        cell = rows[ranked.index(duel.first)][3 + ranked.index(duel.second)]
        assert cell == f"{duel.share.value:.1%} {100 * duel.share.low:.0f}〜{100 * duel.share.high:.0f}%"
    for row in (row for row in page.rows["数字の表"][1:] if len(row) > 1):
        (figure,) = [one for one in report.figures if one.writer == MODEL and words.figure(one) == row[0]]
        assert row[1] == _told(figure)


def _local_writers(tiny: Path, folder: Path, request: pytest.FixtureRequest) -> tuple[list[str], list[str]]:
    """Everybody who can write on this machine, and the options that they want besides."""
    recipe, served = load_recipe("tiny"), tiny / "gguf" / SERVED
    played = hands.trials(GAME, HANDS)
    entries = [Entry(trial.example.hand, trial.example.answer, "composed") for trial in played[1:]]
    write_table(folder / "table.sqlite", entries, GAME.deck)
    staged = changed(recipe, "dataset", stages=2, train=100, valid=10, test=10)
    workshop = workshop_of(staged, folder / "staged")
    for name in ("dataset", "preflight", "train", "merge", "convert", "quantize"):
        pipeline.make(workshop, name)
    names = ["base", "adapter", "f16", "f16/free", *recipe.quantize.measured, f"table:{folder / 'table.sqlite'}"]
    names += [f"embedded:{served}", f"embedded:{served}/free", f"embedded:{folder / 'staged' / 'gguf' / SERVED}"]
    options: list[str] = []
    if shutil.which("ollama"):
        host = request.getfixturevalue("ollama")
        options = ["--ollama", host]
        done = CliRunner().invoke(cli, ["register", "--recipe", "tiny", "--out", str(tiny), *options])
        assert done.exit_code == 0, done.output
        names += ["ollama:mansion-poem:tiny", "ollama:mansion-poem:tiny/free"]
    return names, options

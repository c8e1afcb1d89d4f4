"""The page of a report: what it says first, what it marks, what it asks of others, and how it looks in a browser."""

import re
from pathlib import Path
from typing import Any

import pytest

from poem_build.evaluation.history import REGRESSION, changes, choice
from poem_build.evaluation.outcome import Reason
from poem_build.evaluation.poems import Broken
from poem_build.evaluation.report import Evaluation
from poem_build.report import evaluation_page, evaluation_table, words
from poem_build.report.evaluation_page import Piece, paragraphs, render
from poem_build.report.plots import plots
from poem_build.report.verdict import verdict
from support.axe import faults
from support.browser import CHROMIUM, browsing
from support.evaluations import an_evaluation, share
from support.tables import Tables

HOSTILE = "</script><img src=https://evil.example/a onerror=alert(1)>「\u202e{{ 7*7 }}&amp;"


@pytest.fixture(scope="module")
def former() -> Evaluation:
    return an_evaluation()


@pytest.fixture(scope="module")
def fallen(former: Evaluation) -> Evaluation:
    """A build that tells more of the realities than the one before it."""
    now = an_evaluation("b" * 64, "2026-11-26T12:00:00+00:00", {"conceal.lemma": 0.88}, former)
    (worse,) = [one for one in changes(now.figures, now.former) if one.regression]
    reason = Reason(
        gate=REGRESSION, what=worse.now.what, seen="0.88", asked="the former's", holds=False, refuses=True, remedy=""
    )
    return now.model_copy(update={"verdict": now.verdict.model_copy(update={"passed": False, "reasons": [reason]})})


@pytest.fixture(scope="module")
def page(fallen: Evaluation, former: Evaluation) -> str:
    return render(fallen, [former, fallen])


@pytest.mark.parametrize(
    ("shares", "passed", "below", "mark", "headline"),
    [
        ({"pass.first": 0.95}, True, False, "可", "舞台には、このビルドを。"),
        ({}, True, False, "可", "どちらのビルドでも舞台に立てる。"),
        ({"pass.first": 0.95}, True, True, "保", "線は越えたが、composerのほうがよく書く。出すなら、このビルドを。"),
        ({}, True, True, "保", "線は越えたが、composerのほうがよく書く。出すなら、どちらでも。"),
        ({}, False, False, "否", "舞台には、前のビルドを。"),
    ],
)
def test_the_first_sentence_says_which_build_goes_on_stage(
    former: Evaluation, shares: dict[str, float], passed: bool, below: bool, mark: str, headline: str
) -> None:
    before = former.model_copy(update={"verdict": former.verdict.model_copy(update={"below_composer": below})})
    now = an_evaluation("b" * 64, shares=shares, former=before)
    outcome = now.verdict.model_copy(update={"passed": passed, "below_composer": below})
    told = verdict(now.model_copy(update={"verdict": outcome}))
    assert (told.mark, told.headline) == (mark, headline)


def test_a_build_that_the_composer_beats_is_not_taken_for_one_that_it_does_not(former: Evaluation) -> None:
    now = an_evaluation("b" * 64, shares={"pass.first": 0.99}, former=former)
    beaten = now.model_copy(update={"verdict": now.verdict.model_copy(update={"below_composer": True})})
    assert choice(now) == "this"
    assert choice(beaten) == "former"
    before = former.model_copy(update={"verdict": beaten.verdict})
    assert choice(an_evaluation("b" * 64, former=before)) == "this"


@pytest.mark.parametrize(("passed", "taken"), [(True, ["→ 舞台へ", "出せる"]), (False, ["出せない", "→ 舞台へ"])])
def test_of_two_builds_the_one_to_take_is_marked(former: Evaluation, passed: bool, taken: list[str]) -> None:
    now = an_evaluation("b" * 64, shares={"pass.first": 0.99}, former=former)
    outcome = now.verdict.model_copy(update={"passed": passed})
    page = render(now.model_copy(update={"verdict": outcome, "poems": []}), [])
    builds = page.partition('class="builds"')[2].partition("</section>")[0]
    assert re.findall(r"<span>(.+?)</span>", builds) == taken


def test_neither_of_two_refused_builds_goes_on_stage_and_one_alone_goes_or_does_not(former: Evaluation) -> None:
    refused = former.verdict.model_copy(update={"passed": False})
    before = former.model_copy(update={"verdict": refused})
    now = an_evaluation("b" * 64, former=before)
    assert verdict(now.model_copy(update={"verdict": refused})).headline == "まだ舞台には出せない。"
    assert verdict(now).headline == "舞台には、このビルドを。"
    assert verdict(before).headline == "まだ舞台には出せない。"
    assert verdict(former).headline == "舞台に出せる。"


def test_what_few_hands_cannot_tell_is_not_said_to_be_passed(former: Evaluation) -> None:
    known = {"what": "", "seen": "95%", "asked": "at least 90%", "holds": True, "refuses": False, "remedy": ""}
    sure, unsure = (Reason.model_validate(known | {"gate": "eval_pass", "sure": sure}) for sure in (True, False))
    told = {}
    for reason in (sure, unsure):
        outcome = former.verdict.model_copy(update={"reasons": [reason]})
        told[reason.sure] = render(former.model_copy(update={"verdict": outcome}), [])
    assert "○ 越えた" in told[True]
    assert "求める線をすべて越えている。" in told[True]
    assert "△ 言い切れない" in told[False]
    assert "「一度目で規則をすべて守る手札」は手札400組では越えたとも言えない。" in told[False]
    assert "求める線をすべて越えている。" not in told[False]
    assert "手札をふやして" in told[False]
    fallen = Reason.model_validate(known | {"gate": "eval_pass", "sure": False, "holds": False, "refuses": True})
    assert words.reason(fallen, None)[-1] == words.REMEDIES["eval_pass"]


@pytest.mark.parametrize(
    ("gate", "more", "told"),
    [
        ("eval_pass", {"sense": "at least", "bound": 0.9, "measured": False}, ("未測定", "90.0%以上")),
        ("self_bleu_at_most", {"sense": "at most", "bound": 45.0}, ("seen", "45.0以下")),
        ("cards_above", {"sense": "above", "bound": 0.0}, ("seen", "+0.00より上")),
        ("judge", {"sense": "at most", "bound": 0.05}, ("seen", "5%以下")),
        ("judge", {"bound": 0.5}, ("seen", "50%")),
        ("judge", {}, ("seen", "教師とは別の審査員")),
        ("below-composer", {}, ("劣る", "劣らないこと")),
    ],
)
def test_what_is_asked_and_not_measured_is_told_by_what_it_is_and_not_by_its_english(
    gate: str, more: dict[str, object], told: tuple[str, str]
) -> None:
    known = {"gate": gate, "what": "", "seen": "seen", "asked": "asked", "holds": False, "refuses": False}
    assert words.reason(Reason.model_validate(known | more), None)[1:3] == told


def test_a_planted_fall_turns_the_page_red_and_says_what_fell(fallen: Evaluation, page: str) -> None:
    told = "前のビルドから、区間を越えて落ちた: 「現実の語を、活用形でも漏らさない詩」(96.0%→88.0%)。"
    assert 'class="verdict bad"' in page
    assert told in page
    assert page.index(told) < page.index("判定のわけ")
    assert f"否 舞台には、前のビルドを。\n{told}" in evaluation_table.render(fallen)


def test_each_judges_former_value_stands_beside_its_own_figure() -> None:
    def judged(report: Evaluation, first: float, second: float) -> Evaluation:
        more = [
            share("conceal.judge", value).model_copy(update={"what": f"named by {judge}"})
            for judge, value in (("one", first), ("another", second))
        ]
        return report.model_copy(update={"figures": [*report.figures, *more]})

    former = judged(an_evaluation(), 0.11, 0.33)
    now = judged(an_evaluation("b" * 64, former=former), 0.22, 0.44)
    rows = [row for row in Tables(render(now, [])).rows["数字の表"] if row[0] == words.FIGURES["conceal.judge"]]
    assert [[cell.split()[0] for cell in row[1:3]] for row in rows] == [["22.0%", "11.0%"], ["44.0%", "33.0%"]]
    other = judged(an_evaluation("b" * 64, former=judged(an_evaluation(), 0.12, 0.33)), 0.22, 0.44)
    assert plots(now)[0].svg != plots(other)[0].svg


def test_what_is_broken_is_marked_where_it_stands(former: Evaluation) -> None:
    one = former.poems[0].model_copy(
        update={
            "poem": "最高の窓。\n夜です。",
            "broken": [
                Broken(rule="superlative", part="poem", found="最高", start=0, end=2),
                Broken(rule="sentence", part="poem", found="", start=0, end=5),
                Broken(rule="polite", part="poem", found="です", start=7, end=9),
                Broken(rule="length", part="poem", found="10", start=None, end=None),
            ],
        }
    )
    assert list(paragraphs(one)) == [
        [Piece("最高", ("最上級", "一文の長さ")), Piece("の窓。", ("一文の長さ",))],
        [Piece("夜"), Piece("です", ("です・ます",)), Piece("。")],
    ]
    nothing: dict[str, Any] = {
        "figures": [],
        "rules": [],
        "groups": [],
        "samples": [],
        "losses": None,
        "quantized": [],
        "matrix": None,
    }
    page = render(former.model_copy(update={"poems": [one], **nothing}), [])
    assert "<mark>です<small>です・ます</small></mark>" in page
    assert "<li>字数(10字)</li>" in page


def test_hostile_words_stay_words_and_nothing_is_asked_of_anybody(former: Evaluation) -> None:
    card = former.poems[0].hand[0].model_copy(update={"condition_text": HOSTILE, "poem_text": HOSTILE})
    poem = former.poems[0].model_copy(
        update={"title": HOSTILE, "poem": HOSTILE, "beside": HOSTILE, "hand": [card] * 5, "broken": []}
    )
    told = former.provenance.model_copy(update={"recipe": HOSTILE, "device": HOSTILE, "base": HOSTILE})
    page = render(former.model_copy(update={"poems": [poem], "provenance": told}), [former, former])
    assert "<img" not in page
    assert "<script" not in page
    assert "{{ 7*7 }}" in page
    assert page.count("&lt;/script&gt;&lt;img src=https://evil.example/a onerror=alert(1)&gt;") > 15
    asked = re.findall(
        r"(?:src|href|action|srcset|poster|data)=[\"']?[^\"'#\s>][^\s>]*", page.replace("&lt;img src", "")
    )
    assert asked == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import", page) == []
    assert "default-src 'none'" in page


def test_every_name_on_the_page_is_there_once(page: str) -> None:
    names = re.findall(r'\sid="([^"]+)"', page)
    assert len(names) > 20
    assert len(names) == len(set(names))


def test_the_same_report_is_the_same_page(fallen: Evaluation, former: Evaluation, page: str) -> None:
    assert render(fallen, [former, fallen]) == page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
async def test_the_pages_fit_a_phone_and_a_desk_and_axe_finds_nothing(
    page: str, former: Evaluation, fallen: Evaluation, tmp_path: Path
) -> None:
    path, builds = tmp_path / evaluation_page.FILE, tmp_path / "history.html"
    path.write_text(page, "utf-8")
    evaluation_page.write_history(builds, [former, fallen])
    (tmp_path / "profile").mkdir()
    async with browsing(tmp_path / "profile", path.as_uri(), 1400, 900) as tab:
        await tab.until("document.readyState === 'complete'")
        for width in (1400, 800, 360):
            await tab.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
            )
            await tab.until(f"innerWidth === {width}")
            assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
            assert await tab.run("document.querySelector('.builds').getBoundingClientRect().bottom < innerHeight")
        assert await tab.run("performance.getEntriesByType('resource').length") == 0
        assert await faults(tab) == []
        await tab.call("Page.navigate", url=builds.as_uri())
        await tab.until("document.title.endsWith('の歩み') && document.readyState === 'complete'")
        assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
        assert await faults(tab) == []
        assert tab.complaints == []

import json

import pytest
from click.testing import CliRunner

from poem_build.cli.main import cli
from poem_build.report.costs_table import render, ways
from poem_build.teacher.money import Local, Price, Prices, Tuning
from poem_build.teacher.protocol import Usage

PRICES = Prices(
    yen_per_dollar=100,
    yen_source="a test",
    models={"cloud": Price(prompt=1, cached=0.1, output=10, batch=0.5, source="a test", dated="2026-11")},
    tuning={"tuner": Tuning(train=2, prompt=0.5, output=1, source="a test", dated="2026-11")},
    local={"20B": Local(hour=3.6, train_hours=10, seconds=2, source="a test", dated="2026-11")},
)
ONE, KEPT = Usage(prompt=1000, output=200), Usage(prompt=100, cached=900, output=200)


def test_each_way_has_its_set_up_its_price_and_when_it_pays() -> None:
    found = {way.name: way for way in ways(PRICES, "cloud", ONE, KEPT, examples=1000, epochs=2)}
    asked = found["cloud, asked each time"]
    assert asked.hundred_usd == pytest.approx(0.3)
    assert asked.break_even is None
    assert found["cloud, prompt kept"].hundred_usd == pytest.approx(100 * (100 + 90 + 2000) / 1e6)
    assert found["cloud, in batches"].hundred_usd == pytest.approx(0.15)
    here = found["a model here, taught 1,000 poems"]
    assert here.setup_usd == pytest.approx(1.5)
    assert (here.hundred_usd, here.break_even) == (0, 500)
    tuned = found["tuner, tuned"]
    assert tuned.setup_usd == pytest.approx(1.5 + 1200 * 1000 * 2 * 2 / 1e6)
    assert tuned.hundred_usd == pytest.approx(100 * (500 + 200) / 1e6)
    assert tuned.break_even == round(tuned.setup_usd / (0.003 - tuned.hundred_usd / 100))
    local = found["20B on a machine of one's own"]
    assert local.setup_usd == pytest.approx(1.5 + 36)
    assert local.hundred_usd == pytest.approx(0.2)


def test_a_prompt_that_is_too_short_to_be_kept_is_no_way() -> None:
    assert not [way for way in ways(PRICES, "cloud", ONE, ONE, 1000, 2) if "kept" in way.name]


def test_the_sources_are_named_and_what_has_none_is_said() -> None:
    text = render(ways(PRICES, "cloud", ONE, KEPT, 1000, 2), PRICES)
    assert "a test (2026-11)" in text
    assert "A dollar is ¥100.0 (a test)." in text
    bare = PRICES.model_copy(update={"tuning": {}, "local": {}})
    assert render(ways(bare, "cloud", ONE, KEPT, 1000, 2), bare).endswith(
        "[tuning] has no prices: nothing is compared\n[local] has no prices: nothing is compared"
    )


def test_the_command_compares_by_the_list_that_we_carry() -> None:
    done = CliRunner().invoke(cli, ["costs", "--phase", "2", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found[0]["name"] == "gemini-2.5-flash, asked each time"
    assert all(way["source"] for way in found)
    done = CliRunner().invoke(cli, ["costs", "--model", "gemini-9"])
    assert (done.exit_code, "no price for 'gemini-9'" in done.output) == (1, True)

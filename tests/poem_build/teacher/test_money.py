import asyncio
from pathlib import Path

import pytest

from poem_build.errors import TeacherError
from poem_build.teacher.money import PRICES, Paid, Price, Purse, expected, ledger, load_prices, price_of
from poem_build.teacher.protocol import Ask, Usage

PRICE = Price(prompt=1, cached=0.1, output=10, batch=0.5, source="a test", dated="2026-11")


def test_tokens_have_their_price_and_batches_half_of_it() -> None:
    usage = Usage(prompt=1_000_000, cached=1_000_000, output=100_000)
    assert PRICE.of(usage) == pytest.approx(2.1)
    assert PRICE.of(usage, batch=True) == pytest.approx(1.05)


def test_what_a_model_thinks_at_the_least_is_paid_and_a_short_prompt_is_not_kept() -> None:
    ask = Ask("key", "指示" * 100, "問い" * 50, {"type": "object"}, 0)
    thinker = PRICE.model_copy(update={"thinking": 128, "cached_least": 161})
    assert thinker.most(ask, (), 1000) - PRICE.most(ask, (), 1000) == pytest.approx(128 * 10 / 1e6)
    assert expected(ask, 100, PRICE, kept_s=3600) == Usage(prompt=80, cached=160, output=80, stored=160)
    assert expected(ask, 100, thinker, kept_s=3600) == Usage(prompt=240, output=208)


def test_the_most_is_no_less_than_any_tokenizer_makes_of_it() -> None:
    ask = Ask("key", "指示" * 100, "問い" * 50, {"type": "object"}, 0)
    assert PRICE.most(ask, (), 0) >= PRICE.of(Usage(prompt=len((ask.system + ask.user).encode())))


async def test_what_is_out_counts_and_gives_back_what_it_did_not_cost() -> None:
    purse = Purse(1.0, spent=0.0)
    await purse.take(0.6)
    waiting = asyncio.ensure_future(purse.take(0.6))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await purse.settle(0.6, 0.1)
    await waiting
    await purse.settle(0.6, 0.6)
    with pytest.raises(TeacherError, match=r"--max-cost: \$1\.0000 allow no further question: \$0\.7000 are spent"):
        await purse.take(0.4)


async def test_a_purse_is_not_overdrawn_by_a_hundred_at_once() -> None:
    purse, most = Purse(1.0, spent=0.0), 0.07
    spent = 0.0

    async def one() -> None:
        nonlocal spent
        await purse.take(most)
        await asyncio.sleep(0.001)
        spent += most
        await purse.settle(most, most)

    done = await asyncio.gather(*(one() for _ in range(100)), return_exceptions=True)
    assert sum(isinstance(one, TeacherError) for one in done) == 100 - 14
    assert spent == pytest.approx(14 * most)
    assert spent <= 1.0


def test_the_ledger_tells_models_kinds_and_yen() -> None:
    prices = load_prices()
    model = next(iter(prices.models))
    usage = Usage(prompt=1000, cached=2000, output=100, stored=300)
    of_its_day = prices.models[model].model_copy(update={"prompt": 7.0, "output": 70.0})
    usd = of_its_day.of(usage)
    told = ledger([Paid(model, usd, usage, of_its_day.by_kind(usage)), Paid("", 0.0, Usage())], 0.5, prices)
    assert told["usd"] == pytest.approx(usd, abs=1e-6)
    assert told["yen"] == pytest.approx(usd * prices.yen_per_dollar, abs=0.01)
    assert told["in_doubt_usd"] == 0.5
    entry = told["models"][model]
    assert entry["tokens"] == {"prompt": 1000, "cached": 2000, "output": 100, "stored": 300}
    assert sum(entry["usd_by_kind"].values()) == pytest.approx(usd, abs=1e-5)
    assert sum(entry["yen_by_kind"].values()) == pytest.approx(told["yen"], abs=0.03)
    assert entry["saved_by_cache_usd"] > 0


def test_every_price_says_where_it_is_from() -> None:
    for entry in (*load_prices().models.values(), *load_prices().tuning.values()):
        assert entry.source
        assert entry.dated


def test_a_day_may_be_written_as_toml_has_days(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    entry = "prompt = 1\ncached = 0\noutput = 1\nsource = 'x'\ndated = 2026-11-27"
    path.write_text(f"yen_per_dollar = 150\nyen_source = 'x'\n[models.a]\n{entry}\n", "utf-8")
    assert load_prices(path).models["a"].dated == "2026-11-27"


def test_a_model_without_a_price_is_refused() -> None:
    with pytest.raises(TeacherError, match=r'no price for \'gemini-9\', only for .*; add \[models\."gemini-9"\]'):
        price_of(load_prices(), "gemini-9", PRICES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yen_per_dollar = 0\nyen_source = 'x'", "yen_per_dollar"),
        ("yen_per_dollar = 150\nyen_source = 'x'\n[models.a]\nprompt = 1", r"models\.a\.source: Field required"),
        ("yen_per_dollar =", "not TOML"),
        ("yen_per_dollar = inf\nyen_source = 'x'", "yen_per_dollar: Input should be a finite number"),
    ],
)
def test_a_price_list_with_a_fault_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(TeacherError, match=message):
        load_prices(path)

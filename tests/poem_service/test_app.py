"""The service from outside: every endpoint, every header, every refusal."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from starlette.routing import Route

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer, deal_cards, draw_candidates
from poem.rules import check
from poem.table import Entry, write_table
from poem_service.app import build_app
from poem_service.settings import Settings
from poem_service.web.middleware import BearerKey
from poem_service.web.page import page_text
from support.served import a_hand, events, sent, serving

NONE = Settings(engine="none")


async def test_a_poem_without_any_engine() -> None:
    async with serving(NONE) as (_, client):
        response = await client.post("/api/generate-poem", json=sent(a_hand()))
    assert response.status_code == 200
    assert set(response.json()) == {"title", "poem"}
    assert response.headers["x-poem-source"] == "composed"
    assert response.headers["x-poem-reason"] in ("no-engine", "starting")
    assert response.headers["server-timing"].startswith("composed;dur=")
    assert response.headers["cache-control"] == "no-store"


async def test_the_same_hand_is_written_anew() -> None:
    async with serving(NONE) as (_, client):
        poems = {(await client.post("/api/generate-poem", json=sent(a_hand()))).text for _ in range(5)}
    assert len(poems) > 1  # about 1 in 120 pairs of seeds happens to compose the same poem


async def test_the_deck_and_a_deal() -> None:
    deck = builtin_game().deck
    async with serving(NONE) as (_, client):
        assert (await client.get("/api/cards")).json() == [card.as_json() for card in deck.cards]
        assert (await client.get("/api/catchphrases")).json() == list(deck.catchphrases)
        dealt = await client.get("/api/deal?seed=7")
        assert dealt.json() == [card.as_json() for card in deal_cards(deck, Random(7))]
        assert dealt.headers["x-deal-seed"] == "7"
        free = await client.get("/api/deal")
        assert len({card["category"] for card in free.json()}) == 5
        assert (await client.get("/api/deal", params={"seed": free.headers["x-deal-seed"]})).json() == free.json()


async def test_alive_and_ready_are_told_apart() -> None:
    async with serving(NONE) as (_, client):
        assert (await client.get("/health")).json() == {"status": "ok"}
        ready = (await client.get("/ready")).json()
    assert ready["answers_from"] == "table"
    assert ready["model"] == "mansion-poem:latest"
    assert ready["prompt_version_served"] == builtin_game().prompt_version


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/generate-poem", b"{}", 400),
        ("POST", "/api/generate-poem", b"x" * 70_000, 413),
        ("GET", "/api/generate-poem", b"", 405),
        ("POST", "/api/cards", b"", 405),
        ("GET", "/api/deal?seed=x", b"", 400),
        ("GET", "/api/chat", b"", 404),
        ("GET", "/nothing", b"", 404),
        ("POST", "/api/generate-poem/", b"{}", 404),
    ],
)
async def test_an_error_is_japanese_and_tells_nothing(method: str, path: str, content: bytes, status: int) -> None:
    async with serving(NONE) as (_, client):
        response = await client.request(method, path, content=content)
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert response.json()["error"].endswith("。")


async def test_a_body_without_a_length_is_bounded_too() -> None:
    async def endless() -> "object":
        for _ in range(100):
            yield b" " * 4096

    async with serving(NONE) as (_, client):
        response = await client.post("/api/generate-poem", content=endless())  # type: ignore[arg-type]
    assert response.status_code == 413


async def test_every_answer_has_the_security_headers_and_an_id() -> None:
    async with serving(NONE) as (_, client):
        found = await client.get("/health", headers={"x-request-id": "the-stand-07"})
        other = await client.get("/nothing", headers={"x-request-id": "<script>"})
    assert found.headers["x-request-id"] == "the-stand-07"
    assert len(other.headers["x-request-id"]) == 16
    for headers in (found.headers, other.headers):
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


async def test_the_page_is_one_file_with_nothing_from_outside() -> None:
    async with serving(NONE) as (_, client):
        response = await client.get("/")
    assert response.text == page_text()
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe-inline" not in response.headers["content-security-policy"]
    assert "https://" not in response.text


async def test_only_allowed_origins_are_allowed() -> None:
    settings = Settings(engine="none", allowed_origins=("https://game.example.jp",))
    async with serving(settings) as (_, client):
        good = await client.get("/api/deal", headers={"origin": "https://game.example.jp"})
        bad = await client.get("/api/deal", headers={"origin": "https://evil.example.jp"})
        preflight = await client.options(
            "/api/generate-poem",
            headers={"origin": "https://game.example.jp", "access-control-request-method": "POST"},
        )
    assert good.headers["access-control-allow-origin"] == "https://game.example.jp"
    assert "X-Poem-Source" in good.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in bad.headers
    assert preflight.status_code == 200


async def test_every_path_is_guarded_by_the_key_or_open_on_purpose() -> None:
    async with serving(NONE) as (service, _):
        paths = {route.path for route in build_app(service).routes if isinstance(route, Route)}
    open_ = {path for path in paths if not path.startswith(BearerKey.GUARDED)}
    assert open_ == {"/", "/health", "/ready", "/stand"}
    assert len(paths) > 8


async def test_a_key_is_asked_for_where_one_is_set() -> None:
    async with serving(Settings(engine="none", api_keys=("a-long-secret",))) as (_, client):
        assert (await client.get("/api/deal")).status_code == 401
        assert (await client.get("/api/deal", headers={"authorization": "Bearer wrong"})).status_code == 401
        assert (await client.get("/api/deal", headers={"authorization": "Bearer a-long-secret"})).status_code == 200
        assert [(await client.get(path)).status_code for path in ("/", "/health", "/ready")] == [200] * 3


async def test_whoever_asks_too_often_gets_a_poem_all_the_same() -> None:
    async with serving(Settings(engine="none", rate_limit=2)) as (_, client):
        answers = [await client.post("/api/generate-poem", json=sent(a_hand(n))) for n in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.headers["x-poem-reason"] == "rate-limited" for answer in answers] == [False, False, True, True]


async def test_the_table_answers_before_the_composer(tmp_path: Path) -> None:
    deck, hand = builtin_game().deck, a_hand(4)
    answer = compose(builtin_game(), hand, draw_candidates(deck, Random(1)), 1).answer
    write_table(tmp_path / "table.sqlite3", [Entry(hand, answer, "composed")], deck)
    async with serving(Settings(engine="none", table=tmp_path / "table.sqlite3")) as (_, client):
        found = await client.post("/api/generate-poem", json=sent(hand))
        other = await client.post("/api/generate-poem", json=sent(a_hand(9)))
        ready = (await client.get("/ready")).json()
    assert (found.json(), found.headers["x-poem-source"]) == ({"title": answer.title, "poem": answer.poem}, "table")
    assert other.headers["x-poem-source"] == "composed"
    assert ready["table"] == {"poems": 1, "stale_cards": []}


async def test_poems_are_logged_as_the_game_s_scripts_read_them(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    async with serving(Settings(engine="none", log_db=path)) as (_, client):
        answer = await client.post("/api/generate-poem", json=sent(a_hand()))
    with closing(sqlite3.connect(path)) as db:
        cursor = db.execute("SELECT * FROM generation_logs")
        row = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
    assert list(row) == [
        "id",
        "created_at",
        "selected_cards",
        "generated_poem",
        "generation_time_ms",
        "is_successful",
        "llm_provider",
        "llm_model",
        "prompt_text",
        "reasoning_text",
        "seed",
    ]
    assert json.loads(row["selected_cards"]) == sent(a_hand())["selectedPairs"]
    assert json.loads(row["generated_poem"]) == answer.json()
    assert (row["is_successful"], row["llm_provider"]) == (0, "composed")


async def test_metrics_count_what_happened() -> None:
    async with serving(NONE) as (_, client):
        reason = (await client.post("/api/generate-poem", json=sent(a_hand()))).headers["x-poem-reason"]
        text = (await client.get("/metrics")).text
    assert f'poem_answers_total{{reason="{reason}",source="composed"}} 1.0' in text
    for name in ("poem_answer_seconds_bucket", "poem_queue_ahead", "poem_breaker_state", "poem_model_ready"):
        assert name in text


async def test_a_stream_without_an_engine_is_a_poem_too() -> None:
    hand = a_hand()
    async with serving(NONE) as (_, client):
        response = await client.post("/api/generate-poem", json=sent(hand), headers={"accept": "text/event-stream"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.startswith("event: delta\n")
    name, poem = events(response.text)[-1]
    assert name == "done"
    assert check(Answer(poem["title"], poem["poem"]), hand, builtin_game().deck.catchphrases) == []


def own_deck(folder: Path) -> Path:
    """A deck of somebody else's: five categories, one card and one wording each."""
    cards = [
        {
            "id": f"own-{n}",
            "category": f"分類{n}",
            "condition_text": text,
            "strength": -1,
            "poems": [{"id": f"own-{n}-a", "poem_text": wording}],
        }
        for n, (text, wording) in enumerate(
            [
                ("船着場まで徒歩二分", "水の時刻表"),
                ("隣が養鶏場", "朝を告げる友"),
                ("床が傾く", "球体の自由"),
                ("電波が届かない", "手紙の似合う家"),
                ("冬は雪に埋まる", "白い書斎"),
            ]
        )
    ]
    path = folder / "cards.json"
    path.write_text(json.dumps(cards, ensure_ascii=False), "utf-8")
    return path


async def test_somebody_s_own_deck_is_dealt_and_written_about(tmp_path: Path) -> None:
    async with serving(Settings(engine="none", deck=own_deck(tmp_path), deck_policy="known")) as (_, client):
        cards = (await client.get("/api/deal")).json()
        pairs = [{"conditionCard": card, "selectedPoem": card["poems"][0]} for card in cards]
        response = await client.post("/api/generate-poem", json={"selectedPairs": pairs})
        strangers = await client.post("/api/generate-poem", json=sent(a_hand()))
    assert sorted(card["id"] for card in cards) == [f"own-{n}" for n in range(5)]
    assert response.status_code == 200
    assert 180 <= len(response.json()["poem"]) <= 240
    assert strangers.status_code == 400


@pytest.mark.parametrize(
    ("name", "file", "told"),
    [
        ("POEM_DECK", "cards.json", "cards.json: card 1 (own-0): strength must be a whole number from -6 to 5, got 9"),
        ("POEM_TABLE", "cards.json", "build or import the table again"),
    ],
)
def test_a_file_that_is_no_good_stops_the_start_with_one_line(name: str, file: str, told: str, tmp_path: Path) -> None:
    path = own_deck(tmp_path)
    path.write_text(path.read_text("utf-8").replace('"strength": -1', '"strength": 9', 1), "utf-8")
    found = subprocess.run(
        [sys.executable, "-m", "poem_service"],
        env={name: str(tmp_path / file), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert told in found.stderr

"""The page on which people read blind: over HTTP, and in a browser by keyboard and by thumb."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from poem.game import builtin_game
from poem_build.errors import ReadingError
from poem_build.evaluation.answers import play
from poem_build.evaluation.hands import trials
from poem_build.evaluation.people import pairings, read_chosen
from poem_build.evaluation.writers import Composed, Given
from poem_build.report.reading_room import ReadingRoom, serve
from support.axe import faults
from support.browser import CHROMIUM, browsing

GAME = builtin_game()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> ReadingRoom:
    room = tmp_path_factory.mktemp("room")
    played = trials(GAME, 12)
    sheets = [play("composer", Composed(GAME), played, room), play("hand", Given("hand"), played, room)]
    rows = [row for sheet in sheets for tries in sheet.tries for row in tries]
    return ReadingRoom(pairings(rows, GAME, ["composer", "hand"], 3), room / "readings.jsonl")


@pytest.fixture
def room(there: ReadingRoom, tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(there.pairings, tmp_path / "readings.jsonl")


@pytest.fixture
def client(room: ReadingRoom) -> Iterator[httpx.Client]:
    with serve(room, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
            yield client
        server.shutdown()


def test_a_reader_sees_each_pair_both_ways_round_comes_back_and_never_learns_who_wrote(
    room: ReadingRoom, client: httpx.Client
) -> None:
    seen, told = [], ""
    for n in range(6):
        if n == 4:  # goes and comes back: `serve` reads the file anew
            assert client.get("/leaf", params={"reader": "はな", "at": 1}).json()["chosen"] == "first"
        reply = client.get("/leaf", params={"reader": "はな"})
        leaf = reply.json()
        told += reply.text + client.get("/").text
        assert (leaf["at"], leaf["of"], leaf["half"], leaf["chosen"]) == (n, 6, 3, "")
        seen.append([poem["title"] for poem in leaf["poems"]])
        choice = {"reader": " はな ", "key": leaf["key"], "chosen": "first"}
        assert client.post("/choice", json=choice).status_code == 200
    assert sorted(titles[::-1] for titles in seen[3:]) == sorted(seen[:3])
    assert "key" not in client.get("/leaf", params={"reader": "はな"}).json()
    assert client.get("/leaf", params={"reader": "たろう"}).json()["at"] == 0
    assert not any(name in told for name in ("composer", '"hand"', "writer"))
    assert {reader: len(chosen) for reader, chosen in read_chosen(room.file).items()} == {"はな": 6}


@pytest.mark.parametrize(
    "choice",
    [
        {"reader": "", "key": "KEY", "chosen": "first"},
        {"reader": "x" * 41, "key": "KEY", "chosen": "first"},
        {"reader": "a\nb", "key": "KEY", "chosen": "first"},
        {"reader": "x", "key": "another", "chosen": "first"},
        {"reader": "x", "key": "KEY", "chosen": "third"},
        {"reader": "x", "key": ["KEY"], "chosen": "first"},
        {"reader": "x", "key": "KEY"},
        [1],
    ],
)
def test_what_is_no_choice_is_refused_and_not_kept(choice: object, room: ReadingRoom, client: httpx.Client) -> None:
    body = json.dumps(choice).replace("KEY", client.get("/leaf", params={"reader": "x"}).json()["key"])
    reply = client.post("/choice", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, room.file.exists()) == (400, False)
    assert reply.json()["error"]


def test_another_site_s_form_cannot_choose_nor_can_a_long_body(room: ReadingRoom, client: httpx.Client) -> None:
    choice = {"reader": "x", "key": client.get("/leaf", params={"reader": "x"}).json()["key"], "chosen": "first"}
    assert client.post("/choice", content=json.dumps(choice), headers={"Content-Type": "text/plain"}).status_code == 400
    assert client.post("/choice", json=choice | {"more": "x" * 2000}).status_code == 400
    assert client.get("/readings.jsonl").status_code == 404
    assert "default-src 'none'" in client.get("/").headers["Content-Security-Policy"]
    assert not room.file.exists()


def test_a_taken_port_is_named(room: ReadingRoom, client: httpx.Client) -> None:
    with pytest.raises(ReadingError, match=rf"--port {client.base_url.port}: Address already in use"):
        serve(room, "127.0.0.1", client.base_url.port or 0)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
async def test_poems_are_chosen_by_keyboard_and_by_thumb(
    room: ReadingRoom, client: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "profile").mkdir()
    async with browsing(tmp_path / "profile", str(client.base_url), 390, 844) as page:
        await page.until("document.activeElement?.id === 'reader'")
        assert await faults(page) == []
        await page.call("Input.insertText", text="はな")
        await page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13, text="\r")
        await page.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", windowsVirtualKeyCode=13)
        await page.until("document.querySelectorAll('article').length === 2")
        assert await faults(page) == []
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")
        for n, (key, code) in enumerate((("ArrowLeft", 37), ("ArrowRight", 39), ("0", 48)), 2):
            await page.call("Input.dispatchKeyEvent", type="rawKeyDown", key=key, windowsVirtualKeyCode=code)
            await page.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
            await page.until(f"document.getElementById('place').textContent.startsWith('{n} / 6')")
        x, y = await page.run(
            "(({left, top, width, height}) => [left + width / 2, top + height / 2])"
            "(document.querySelector('[data-chosen=second]').getBoundingClientRect())"
        )
        touch = [{"x": x, "y": y}]
        await page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=touch)
        await page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        await page.until("document.getElementById('place').textContent.startsWith('5 / 6')")
        await page.run("document.getElementById('back').click()")
        await page.until("document.querySelector('article:nth-child(2).chosen')")
        assert page.complaints == []
    assert sorted(map(str, read_chosen(room.file)["はな"].values())) == ["0", "1", "1", "None"]

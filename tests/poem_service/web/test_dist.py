"""The game's own build: what a browser is given, may keep and may run, and that it outlives a redeploy."""

import os
import signal
import unicodedata
from pathlib import Path

import httpx
import pytest

from poem_service.settings import Settings
from poem_service.web.dist import game_csp
from poem_service.web.inline import inline_digests
from support.browser import CHROMIUM, browsing
from support.built_game import write_build
from support.process import free_port, service
from support.served import serving

HASHED = "Bx3kQ9aZ"
NAVIGATION = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "sec-fetch-dest": "document"}


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    write_build(tmp_path / "dist", "one", HASHED)
    return tmp_path / "dist"


def served_from(dist: Path, **more: object) -> Settings:
    return Settings(engine="none", game_dist=dist, **more)  # type: ignore[arg-type]


async def test_the_game_s_own_files_and_its_routes(dist: Path) -> None:
    page = (dist / "index.html").read_text("utf-8")
    async with serving(served_from(dist)) as (_, client):
        for path in ("/", "/index.html", "/play/5", "/users/taro.yamada", "/../../etc/passwd"):
            found = await client.get(path, headers=NAVIGATION)
            assert (found.text, found.headers["content-type"]) == (page, "text/html; charset=utf-8"), path
        assert (await client.get(f"/assets/index-{HASHED}.css")).headers["content-type"].startswith("text/css")
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.head("/play/5")).status_code == 200


MISSING = (
    ("/assets/index-Old12345.js", "script"),
    ("/assets/index-Old12345.js", ""),
    ("/assets/old.css", ""),
    ("/images/gone.webp", "image"),
    ("/fonts/gone.woff2", ""),
    ("/site.webmanifest", ""),
    ("/worker", "worker"),
)
"""Paths, and what a browser says that they are for."""


async def test_a_missing_asset_is_not_answered_with_the_page(dist: Path) -> None:
    async with serving(served_from(dist)) as (_, client):
        for path, destination in MISSING:
            missing = await client.get(path, headers={"sec-fetch-dest": destination} if destination else {})
            assert missing.status_code == 404, path
            assert missing.headers["content-type"] == "application/json"
            assert missing.headers["cache-control"] == "no-store"


KEPT = {
    "index.html": False,
    f"assets/index-{HASHED}.js": True,
    "assets/main.3f2a9b1c.css": True,
    "static/chunk.0123456789abcdef0123.js": True,
    "assets/index-ABCDEFGH.js": False,
    "images/hello-background.png": False,
    "images/photo-20261127.png": False,
    "images/bg-Level02Night.png": False,
    "favicon.ico": False,
}


async def test_only_what_is_named_by_its_content_is_kept(dist: Path) -> None:
    async with serving(served_from(dist)) as (_, client):
        for name, kept in KEPT.items():
            (dist / name).parent.mkdir(exist_ok=True)
            (dist / name).touch()
            found = await client.get(f"/{name}")
            again = await client.get(f"/{name}", headers={"if-none-match": found.headers["etag"]})
            wanted = "public, max-age=31536000, immutable" if kept else "no-cache"
            assert (found.headers["cache-control"], again.headers["cache-control"]) == (wanted, wanted), name
            assert again.status_code == 304
            assert again.headers["content-security-policy"] == found.headers["content-security-policy"]


async def test_a_build_with_the_same_times_and_sizes_is_another(dist: Path) -> None:
    """Builds that can be repeated give every file one time, and hashes have one length."""
    async with serving(served_from(dist)) as (_, client):
        for path in (dist / "index.html", dist / "app.js"):
            path.write_text("<p>build 1</p>")
            os.utime(path, (1, 1))
            first = await client.get(f"/{path.name}")
            path.write_text("<p>build 2</p>")
            os.utime(path, (1, 1))
            second = await client.get(f"/{path.name}", headers={"if-none-match": first.headers["etag"]})
            assert (second.status_code, second.text) == (200, "<p>build 2</p>"), path


async def test_a_page_s_policy_names_its_inline_scripts(dist: Path) -> None:
    async with serving(served_from(dist, game_sources=("https://fonts.gstatic.com",))) as (_, client):
        policy = (await client.get("/")).headers["content-security-policy"]
        (dist / "index.html").write_text("<script>another()</script>")
        other = (await client.get("/")).headers["content-security-policy"]
        asset = (await client.get(f"/assets/index-{HASHED}.js")).headers["content-security-policy"]
    directives = {name: values for name, *values in (one.split() for one in policy.split(";"))}
    (digest,) = inline_digests('<script>document.documentElement.dataset.theme = "昼"</script>')["script"]
    assert directives["script-src"] == ["'self'", "https://fonts.gstatic.com", digest]
    assert "https://fonts.gstatic.com" in directives["font-src"]
    assert "https://fonts.gstatic.com" in directives["style-src"]
    assert inline_digests("<script>another()</script>")["script"][0] in other
    assert digest not in other
    assert asset == game_csp(sources=("https://fonts.gstatic.com",))


async def test_a_404_page_of_the_game_changes_no_answer_of_the_api(dist: Path) -> None:
    (dist / "404.html").write_text("<p>GitHub Pages</p>")
    (dist / "api").mkdir()
    (dist / "api" / "cards").write_text("not ours")
    async with serving(served_from(dist)) as (_, client), serving(Settings(engine="none")) as (_, plain):
        for method, path in (
            ("GET", "/api/nothing"),
            ("GET", "/v1/nothing"),
            ("GET", "/api/generate-poem"),
            ("POST", "/api/nothing"),
            ("DELETE", "/api/deal"),
        ):
            found, usual = await client.request(method, path), await plain.request(method, path)
            assert (found.status_code, found.json()) == (usual.status_code, usual.json()), path
        assert len((await client.get("/api/cards")).json()) > 50
        assert (await client.get("/play/5")).text == (dist / "index.html").read_text("utf-8")
        assert (await client.get("/404.html")).text == "<p>GitHub Pages</p>"


async def test_a_key_leaves_the_game_s_files_open(dist: Path) -> None:
    async with serving(served_from(dist, api_keys=("a-long-secret",))) as (_, client):
        for path in ("/", "/play/5", f"/assets/index-{HASHED}.js"):
            assert (await client.get(path)).status_code == 200
        for path in ("/api/deal", "/api/cards", "/metrics", "/openapi.json", "/v1/models"):
            assert (await client.get(path)).status_code == 401


COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "ガラス.webp"), unicodedata.normalize("NFD", "ガラス.webp")


async def test_a_file_is_found_however_a_mac_spelt_it(dist: Path) -> None:
    async with serving(served_from(dist)) as (_, client):
        for on_disk in (COMPOSED, DECOMPOSED):
            (dist / on_disk).write_bytes(b"RIFF")
            for asked in (COMPOSED, DECOMPOSED):
                found = await client.get(f"/{asked}")
                assert (found.content, found.headers["content-type"]) == (b"RIFF", "image/webp")
            (dist / on_disk).unlink()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
async def test_the_game_s_client_plays_through_a_redeploy(dist: Path, tmp_path: Path) -> None:
    """The service is replaced and another build with it: the open page plays on, then finds the new one by itself."""
    environ, port = {"POEM_ENGINE": "none", "POEM_GAME_DIST": str(dist)}, free_port()
    async with (
        service(environ, port) as (url, pid),
        httpx.AsyncClient(trust_env=False) as client,
        browsing(tmp_path / "browser", f"{url}/play/5", 390, 844) as page,
    ):
        await page.until("window.game?.poems > 2")
        assert await page.run("document.documentElement.dataset.theme") == "昼"
        assert page.complaints == []
        os.kill(pid, signal.SIGTERM)
        await page.until("game.failures.length")  # nobody listens now
        write_build(dist, "two", "Cy4lR8bW")
        async with service(environ, port, signal.SIGINT):
            before = await page.run("game.poems")
            await page.until(f"game.poems > {before + 2}")
            failures = await page.run("game.failures")
            assert set(failures) == {"TypeError: Failed to fetch"}
            assert await page.run("game.build") == "one"
            assert (await client.get(f"{url}/assets/screen-{HASHED}.js")).status_code == 404
            await page.run("void game.show()")
            await page.until("window.game?.build === 'two' && game.poems > 2")
            assert await page.run("game.failures.length + game.path") == "0/play/5"
            await page.run("void game.show()")
            await page.until("document.body.dataset.screen")

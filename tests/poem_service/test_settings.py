"""Every variable: what it takes, and how a bad value is refused."""

import ipaddress
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poem_service.errors import SettingsError
from poem_service.settings import Settings
from poem_service.variables import VARIABLES

BAD = {
    "POEM_PORT": "0",
    "POEM_HOST": "not a host",
    "POEM_ENGINE": "gpt",
    "OLLAMA_HOST": "ftp://x",
    "POEM_MODEL": "no spaces",
    "POEM_GGUF": "/no/such.gguf",
    "POEM_DEADLINE_S": "90",
    "POEM_GAME": "/no/such/folder",
    "POEM_DECK": "/no/such.json",
    "POEM_CATCHPHRASES": "/no/such.json",
    "POEM_DECK_POLICY": "closed",
    "POEM_TABLE": "/no/such.sqlite3",
    "POEM_LOG_DB": "/no/such/folder/log.sqlite3",
    "POEM_GAME_DIST": "/no/such/folder",
    "POEM_GAME_SOURCES": "https://a.jp; script-src *",
    "POEM_ALLOWED_ORIGINS": "example.jp",
    "POEM_MAX_ACTIVE": "0",
    "POEM_GPU": "yes",
    "POEM_GPU_LAYERS": "-2",
    "POEM_OPENAI_URL": "localhost:8080",
    "POEM_OPENAI_KEY": "short",
    "POEM_API_KEY": "クリップ",
    "POEM_RATE_LIMIT": "-1",
    "POEM_TRUSTED_PROXIES": "10.0.0.0/99",
    "POEM_WRITER": "both",
    "POEM_DEAL": "some",
    "POEM_WORKERS": "0",
}
# What is given, and the one field that it changes.
GOOD: dict[str, tuple[str, str, Any]] = {
    "POEM_PORT": ("3101", "port", 3101),
    "POEM_HOST": ("0.0.0.0", "host", "0.0.0.0"),
    "POEM_ENGINE": ("ollama", "engine", "ollama"),
    "OLLAMA_HOST": ("10.1.2.3:11500", "ollama_url", "http://10.1.2.3:11500"),
    "POEM_MODEL": ("/models/gemma@q4_k_m", "model", "/models/gemma@q4_k_m"),
    "POEM_GGUF": ("a.file", "gguf", Path("a.file")),
    "POEM_DEADLINE_S": ("31", "deadline_s", 31.0),
    "POEM_GAME": ("dist", "game", Path("dist")),
    "POEM_DECK": ("b.file", "deck", Path("b.file")),
    "POEM_CATCHPHRASES": ("c.file", "catchphrases", Path("c.file")),
    "POEM_DECK_POLICY": ("known", "deck_policy", "known"),
    "POEM_TABLE": ("d.file", "table", Path("d.file")),
    "POEM_LOG_DB": ("e.new", "log_db", Path("e.new")),
    "POEM_GAME_DIST": ("dist", "game_dist", Path("dist")),
    "POEM_GAME_SOURCES": ("https://*.a.jp/, https://b.jp", "game_sources", ("https://*.a.jp", "https://b.jp")),
    "POEM_ALLOWED_ORIGINS": ("https://a.example.jp", "allowed_origins", ("https://a.example.jp",)),
    "POEM_MAX_ACTIVE": ("7", "max_active", 7),
    "POEM_GPU": ("expected", "gpu", "expected"),
    "POEM_GPU_LAYERS": ("12", "gpu_layers", 12),
    "POEM_OPENAI_URL": ("http://10.1.2.4:8080", "openai_url", "http://10.1.2.4:8080"),
    "POEM_OPENAI_KEY": ("of-the-server", "openai_key", "of-the-server"),
    "POEM_API_KEY": ("the-old-one,the-new-one", "api_keys", ("the-old-one", "the-new-one")),
    "POEM_RATE_LIMIT": ("9", "rate_limit", 9),
    "POEM_TRUSTED_PROXIES": ("10.0.0.0/8", "trusted_proxies", (ipaddress.ip_network("10.0.0.0/8"),)),
    "POEM_WRITER": ("table", "writer", "table"),
    "POEM_DEAL": ("prepared", "deal", "prepared"),
    "POEM_WORKERS": ("1", "workers", 1),
}


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"POEM_PORT": " ", "POEM_ENGINE": ""}) == Settings()


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_its_own_setting(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dist").mkdir()
    for file in ("a.file", "b.file", "c.file", "d.file", "dist/index.html"):
        (tmp_path / file).touch()
    text, field, value = GOOD[name]
    assert Settings.from_env({name: text}) == replace(Settings(), **{field: value})


def test_workers_share_what_the_model_does_at_once() -> None:
    assert Settings.from_env({"POEM_WORKERS": "4", "POEM_MAX_ACTIVE": "8"}).workers == 4
    assert Settings.from_env({"POEM_WORKERS": "4", "POEM_ENGINE": "none"}).workers == 4
    with pytest.raises(SettingsError, match="POEM_WORKERS: 4 workers share POEM_MAX_ACTIVE=1"):
        Settings.from_env({"POEM_WORKERS": "4"})


def test_a_stand_that_deals_what_is_prepared_shows_it() -> None:
    assert Settings().policy == "model"
    assert Settings(deal="prepared").policy == "auto"
    assert Settings(deal="prepared", writer="model").policy == "model"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_bad_value_is_refused_with_name_value_and_what_is_allowed(name: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({name: BAD[name]})
    message = str(refusal.value)
    assert message.startswith(f"{name}: ")
    assert message.endswith(f"give {VARIABLES[name][2]}")
    assert (BAD[name] in message) == (name not in ("POEM_API_KEY", "POEM_OPENAI_KEY"))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("0.0.0.0:11434", "http://127.0.0.1:11434"),
        (":11500", "http://127.0.0.1:11500"),
        ("ollama:11434", "http://ollama:11434"),
        ("http://ollama", "http://ollama:80"),
        ("https://ollama.example.jp/", "https://ollama.example.jp:443"),
        ("[::1]:11434", "http://[::1]:11434"),
        ("HTTP://stand", "http://stand:80"),
        ("https://us:pa@ollama.example.jp", "https://us:pa@ollama.example.jp:443"),
    ],
)
def test_ollama_host_takes_the_forms_that_ollama_takes(text: str, url: str) -> None:
    assert Settings.from_env({"OLLAMA_HOST": text}).ollama_url == url


@pytest.mark.parametrize(("engine", "needs"), [("embedded", "POEM_GGUF"), ("openai", "POEM_OPENAI_URL")])
def test_an_engine_that_lacks_its_place_is_refused(engine: str, needs: str) -> None:
    with pytest.raises(SettingsError, match=f"^{needs}: not set"):
        Settings.from_env({"POEM_ENGINE": engine})


@pytest.mark.parametrize("engine", ["auto", "embedded"])
def test_the_embedded_engine_takes_one_at_a_time(engine: str, tmp_path: Path) -> None:
    (gguf := tmp_path / "model.gguf").touch()
    environ = {"POEM_ENGINE": engine, "POEM_GGUF": str(gguf), "POEM_MAX_ACTIVE": "2"}
    with pytest.raises(SettingsError, match=r"^POEM_MAX_ACTIVE: 2 is for "):
        Settings.from_env(environ)
    assert Settings.from_env(environ | {"POEM_ENGINE": "ollama"}).max_active == 2


def test_keys_do_not_show() -> None:
    settings = Settings.from_env({"POEM_API_KEY": "a-secret-key", "POEM_OPENAI_KEY": "another-key"})
    assert "secret" not in repr(settings)
    assert "another" not in repr(settings)


def test_all_values_land(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("x")
    environ = {
        "POEM_PORT": "3002",
        "POEM_DEADLINE_S": "12.5",
        "POEM_GAME_DIST": str(tmp_path),
        "POEM_LOG_DB": str(tmp_path / "log.sqlite3"),
        "POEM_ALLOWED_ORIGINS": "https://a.jp, http://localhost:5173",
        "POEM_RATE_LIMIT": "30",
    }
    found: dict[str, Any] = {name: getattr(Settings.from_env(environ), VARIABLES[name][0]) for name in environ}
    assert found == {
        "POEM_PORT": 3002,
        "POEM_DEADLINE_S": 12.5,
        "POEM_GAME_DIST": tmp_path,
        "POEM_LOG_DB": tmp_path / "log.sqlite3",
        "POEM_ALLOWED_ORIGINS": ("https://a.jp", "http://localhost:5173"),
        "POEM_RATE_LIMIT": 30,
    }


def test_a_bad_setting_stops_the_start_with_one_line() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "poem_service"],
        env={"POEM_PORT": "many", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 2
    assert found.stderr == "poem-service: POEM_PORT: 'many' is not allowed; give a port from 1 to 65535\n"


def test_a_game_s_folder_and_its_files_are_not_both_given(tmp_path: Path) -> None:
    (tmp_path / "cards.json").write_text("[]", "utf-8")
    environ = {"POEM_GAME": str(tmp_path), "POEM_DECK": str(tmp_path / "cards.json")}
    with pytest.raises(SettingsError, match="POEM_GAME: is set beside POEM_DECK or POEM_CATCHPHRASES; give the folder"):
        Settings.from_env(environ)

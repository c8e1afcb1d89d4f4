"""Every variable: what it takes, and how a bad value is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poem_service.errors import SettingsError
from poem_service.settings import VARIABLES, Settings

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
    "POEM_ALLOWED_ORIGINS": "example.jp",
    "POEM_MAX_ACTIVE": "0",
    "POEM_GPU": "yes",
    "POEM_OPENAI_URL": "localhost:8080",
    "POEM_OPENAI_KEY": "short",
    "POEM_API_KEY": "クリップ",
    "POEM_RATE_LIMIT": "-1",
    "POEM_TRUSTED_PROXIES": "10.0.0.0/99",
}


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"POEM_PORT": " ", "POEM_ENGINE": ""}) == Settings()


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

"""The bundle at a stand, on an engine that has nothing and a network that leads nowhere, broken in every way."""

import hashlib
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem_build.recipe.schema import load_recipe
from poem_build.ship import bundle
from poem_build.ship.packing import BUILT_IN_GAME, Contents
from support import stand
from support.stack import Built
from support.stand import Stand

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(
        not stand.possible(), reason="needs root, dockerd, unshare and ip for an engine without a network"
    ),
]
MODELS = {"": "mansion-poem:tiny", "embedded": "model-Q4_K_M.gguf"}
"""What each stack calls the model."""
READY = "準備完了  http://localhost:3001"


@pytest.fixture(scope="module")
def packed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed")
    return bundle.pack(Contents(load_recipe("tiny"), builtin_game(), BUILT_IN_GAME), out, built.compose, hands=50)


@pytest.fixture(scope="module")
def at(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The bundle unpacked beside an empty engine; what opens a page only writes down which."""
    folder = tmp_path_factory.mktemp("a stand")
    subprocess.run(["tar", "xf", str(packed)], cwd=folder, check=True)
    home = next(folder.glob("mansion-poem-*"))
    tools = folder / "tools"
    tools.mkdir()
    (tools / "xdg-open").write_text(f'#!/bin/sh\necho "$1" >>"{folder}/opened"\n')
    (tools / "xdg-open").chmod(0o755)
    with stand.stand(tmp_path_factory.mktemp("engine"), home) as found:
        found.env = {"PATH": f"{tools}:{os.environ['PATH']}"}
        yield found


@pytest.fixture
def archive(at: Stand) -> Iterator[Path]:
    """An image archive that is not loaded yet; put right again afterwards."""
    path = at.home / "images" / "service.tar.gz"
    kept = path.with_name("kept")
    os.link(path, kept)
    yield path
    kept.replace(path)


def test_the_file_is_what_its_checksum_says_and_holds_what_it_should(packed: Path) -> None:
    told, name = packed.with_name(f"{packed.name}.sha256").read_text("utf-8").split()
    assert (told, name) == (hashlib.sha256(packed.read_bytes()).hexdigest(), packed.name)
    with tarfile.open(packed) as tar:
        names = [Path(*Path(entry.name).parts[1:]) for entry in tar if entry.isfile()]
    assert {".env", "SHA256SUMS", "compose.yaml", "start", "stop", "doctor", "start.cmd"} <= set(map(str, names))
    assert {"files/cards.json", "files/catchphrases.json", "files/poems.sqlite"} <= set(map(str, names))
    assert names[-1].parent.name == "images"


def test_packed_again_it_is_the_same_file(packed: Path, built: Built, tmp_path: Path) -> None:
    contents = Contents(load_recipe("tiny"), builtin_game(), BUILT_IN_GAME)
    again = bundle.pack(contents, tmp_path, built.compose, hands=50)
    if again.read_bytes() != packed.read_bytes():
        listed = [subprocess.run(["tar", "tvf", str(tar)], capture_output=True).stdout for tar in (packed, again)]
        sums = [_file_of(tar, "SHA256SUMS").splitlines() for tar in (packed, again)]
        pytest.fail(f"{set(sums[0]) ^ set(sums[1]) or listed}")


def _file_of(tar: Path, name: str) -> str:
    with tarfile.open(tar) as packed:
        member = next(entry for entry in packed if Path(entry.name).name == name)
        file = packed.extractfile(member)
        assert file is not None
        return file.read().decode()


def test_the_stand_has_no_way_out(at: Stand) -> None:
    routes = at.sh("ip", "route").stdout
    assert "default" not in routes
    assert at.docker("image", "ls", "--quiet") == ""


def test_a_flipped_byte_and_a_cut_archive_are_refused_by_name(at: Stand, archive: Path) -> None:
    data = archive.read_bytes()
    archive.unlink()  # the other link keeps the whole one
    for broken in (data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], data[: len(data) // 2]):
        archive.write_bytes(broken)
        refused = at.script("start")
        assert refused.returncode == 1
        assert "× images/service.tar.gz が壊れています" in refused.stdout
        assert "   → このファイルだけをもう一度コピーするか" in refused.stdout
    archive.unlink()
    assert "× images/service.tar.gz がありません。" in at.script("start").stdout
    assert "× images/service.tar.gz がありません。" in at.script("doctor").stdout
    archive.write_bytes(data)


def test_a_start_that_was_interrupted_goes_on(at: Stand, built: Built) -> None:
    """Killed while it loads; the next one does the rest, and ends with a hand that somebody wrote beforehand."""
    for image in at.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split():
        at.docker("image", "rm", image)
    command = ["nsenter", f"--net=/proc/{at.process.pid}/ns/net", "./start"]
    env = os.environ | at.env | {"DOCKER_HOST": f"unix://{at.socket}"}
    starting = subprocess.Popen(
        command, cwd=at.home, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert starting.stdout is not None
    while "読み込んでいます" not in starting.stdout.readline():
        pass
    time.sleep(0.5)
    os.killpg(starting.pid, signal.SIGINT)
    starting.communicate()
    assert at.docker("ps", "--quiet") == ""
    started = at.script("start")
    assert started.returncode == 0, started.stdout
    assert READY in started.stdout
    told = f"前もって書かれた詩が答えています（モデル {MODELS[built.kind]} も控えています）"
    assert started.stdout.splitlines()[-1] == told


def test_it_serves_from_its_own_files_and_opened_the_page(at: Stand) -> None:
    page = at.sh("curl", "--silent", "--fail", "http://127.0.0.1:3001/ready").stdout
    assert '"answers_from":"model"' in page
    assert f'"table":{{"poems":{len(builtin_game().poems)},"stale_cards":[]}}' in page
    assert (at.home.parent / "opened").read_text().split() == ["http://localhost:3001"]


def test_a_second_start_loads_nothing(at: Stand) -> None:
    archive = at.home / "images" / "service.tar.gz"
    away = archive.rename(archive.with_name("away"))
    again = at.script("start")
    away.rename(archive)
    assert again.returncode == 0, again.stdout
    assert "読み込んでいます" not in again.stdout
    assert READY in again.stdout


def test_the_doctor_finds_nothing_wrong_and_says_what_it_saw(at: Stand, built: Built) -> None:
    found = at.script("doctor")
    assert found.returncode == 0, found.stdout
    assert "×" not in found.stdout
    for line in (
        "○ Docker ",
        "○ 3001 番ポートで、ページを出しています",
        "○ ディスクの空き",
        "○ ファイルがそろっています",
    ):
        assert line in found.stdout
    for line in (
        "○ イメージ mansion-poem-service:",
        "○ service が動いています",
        f"○ モデル: {MODELS[built.kind]}",
        "○ 試し書き: ",
    ):
        assert line in found.stdout


@pytest.mark.parametrize(
    "spelt",
    ["hush-hush-hush", "'hush-hush-hush'", "hush-hush-hush # hush", "other-key-here\n#POEM_API_KEY=hush-hush"],
)
def test_a_file_to_send_holds_no_secret(spelt: str, at: Stand) -> None:
    env = at.home / ".env"
    kept = env.read_text("utf-8")
    env.write_text(f"{kept}POEM_API_KEY={spelt}\n", "utf-8")
    try:
        assert "△ .env が、はじめの内容と違います。" in at.script("start").stdout
        sent = at.script("doctor", "--support")
    finally:
        env.write_text(kept, "utf-8")
    path = next(at.home.glob("support-*.txt"))
    text = path.read_text("utf-8")
    path.unlink()
    assert path.name in sent.stdout
    assert "hush" not in text
    assert "POEM_API_KEY: (not shown)" in text
    for section in ("docker version", "docker compose ps --all", "cat .env", "docker compose logs"):
        assert f"===== {section}" in text
    assert '"report": {' in text
    assert at.script("start").returncode == 0  # without the key again


def test_a_deck_that_was_spoilt_is_named_and_a_good_one_is_taken(at: Stand) -> None:
    cards = at.home / "files" / "cards.json"
    kept = cards.read_bytes()
    assert at.script("stop").stdout.splitlines()[-1].startswith("○ 止まりました")
    cards.write_bytes(kept[:500])
    spoilt = at.script("start")
    seen = at.script("doctor")
    cards.write_bytes(kept)
    assert spoilt.returncode == 1
    assert "△ files/cards.json が、はじめの内容と違います。" in spoilt.stdout
    assert "× サービスが答えません（poem-service: POEM_GAME: /files/cards.json: line " in spoilt.stdout
    assert seen.returncode == 1
    assert "× service が動き出せません（poem-service: POEM_GAME: /files/cards.json: line " in seen.stdout
    assert at.script("stop").returncode == 0
    assert at.script("start").returncode == 0


def test_a_stopped_service_and_a_taken_port_are_red(at: Stand) -> None:
    assert at.script("stop").returncode == 0
    listener = subprocess.Popen(
        ["nsenter", f"--net=/proc/{at.process.pid}/ns/net", "python3", "-m", "http.server", "3001"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(1)
        refused, seen = at.script("start"), at.script("doctor")
    finally:
        listener.kill()
        listener.wait()
    assert refused.returncode == 1
    assert "× 3001 番ポートを、ほかのプログラムが使っています。" in refused.stdout
    assert "   → そのプログラムを閉じるか、.env の POEM_PORT を 3002" in refused.stdout
    assert seen.returncode == 1
    assert "× 3001 番ポートを、ほかのプログラムが使っています。" in seen.stdout
    assert "× サービスが動いていないので、中は調べられません。" in seen.stdout

"""The bundle's files and scripts as far as no engine is needed: what is packed beside images, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from poem.composer import compose
from poem.game import builtin_game, load_game
from poem.hand import deal, draw_candidates
from poem.table import Entry, Table
from poem_build.data.table import build_for_stand
from poem_build.recipe.schema import load_recipe
from poem_build.ship import packing
from poem_build.ship.containers import Compose
from poem_build.ship.packing import BUILT_IN_GAME, Contents, Part
from support.docker_command import docker_command

SCRIPTS = ("start", "stop", "doctor")


def part(name: str, image: str) -> Part:
    return Part(
        name=name,
        image=image,
        digest="sha256:" + "ab" * 32,
        layers="cd" * 32,
        platform="linux/amd64",
        created=datetime(2026, 11, 22, tzinfo=UTC),
        bytes=400 * packing.MIB,
        memory=512 * packing.MIB,
        labels={},
    )


PARTS = [part("ollama", "mansion-poem-model:tiny"), part("service", "mansion-poem-service:0.1.0")]


EMBEDDED = [part("service", "mansion-poem-service:0.1.0-embedded-tiny")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A bundle whose image archives hold nothing an engine could load."""
    return packed(tmp_path / "持ち出し その一" / "mansion-poem-tiny", PARTS, Compose())  # a path with a blank


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    """The same without Ollama."""
    return packed(tmp_path / "mansion-poem-tiny-embedded", EMBEDDED, Compose("", "embedded"))


CONTENTS = Contents(load_recipe("tiny"), builtin_game(), BUILT_IN_GAME)


def packed(folder: Path, found: list[Part], compose: Compose) -> Path:
    for name in ("licences", "images"):
        (folder / name).mkdir(parents=True)
    for one in found:
        (folder / "images" / f"{one.name}.tar.gz").write_bytes(os.urandom(5000))
    if compose.holder == "ollama":
        (folder / "compose.nvidia.yaml").write_text("{}\n")
    packing.write_files(folder, CONTENTS, hands=20)
    packing.write_texts(folder, found, CONTENTS, compose)
    (folder / "licences" / "model.txt").write_text("mansion-poem:tiny: MIT\n", "utf-8")
    packing.write_sums(folder)
    return folder


def run(script: str, home: Path, *options: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [str(home / script), *options]
    return subprocess.run(
        command, env=os.environ | environ, capture_output=True, encoding="utf-8", check=False, timeout=60
    )


def engine(folder: Path, script: str) -> dict[str, str]:
    """A PATH on which `docker` is this script."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "docker").chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}"}


def without(folder: Path, *missing: str) -> dict[str, str]:
    """A PATH that has what the scripts use, but for these."""
    tools = folder / "tools"
    tools.mkdir()
    for tool in (
        *("awk", "basename", "cat", "cut", "dirname", "du", "env", "grep", "head", "mktemp", "rm", "sed", "sh"),
        *("sha256sum", "shasum", "perl", "tail", "tee", "tr", "uname"),
    ):
        if tool not in missing and (path := shutil.which(tool)):
            (tools / tool).symlink_to(path)
    return {"PATH": str(tools)}


def test_every_script_passes_the_shells_it_is_for(home: Path) -> None:
    for name in (*SCRIPTS, "scripts/common.sh"):
        subprocess.run(["sh", "-n", str(home / name)], check=True)
        text = (home / name).read_text("utf-8")
        assert "[[" not in text.replace("[[:", "").replace("\\[[", ""), name
        assert "local " not in text, name
    if shutil.which("shellcheck"):
        command = ["shellcheck", "--shell=sh", "--external-sources", *SCRIPTS, "scripts/common.sh"]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
        assert done.stdout == ""


def test_the_settings_pin_the_images_and_carry_the_stand_s_choices(home: Path) -> None:
    lines = (home / ".env").read_text("utf-8").splitlines()
    assert "SERVICE_IMAGE=mansion-poem-service:0.1.0-abababababab" in lines
    assert f"SERVICE_IMAGE_DIGEST={'cd' * 32}" in lines
    assert "BUNDLE_PARTS=ollama service" in lines
    assert "MODEL_MEMORY=512m" in lines
    assert "#COMPOSE_FILE=compose.yaml:compose.nvidia.yaml" in lines


def test_every_setting_of_the_bundle_is_one_of_the_stack(home: Path) -> None:
    compose = Path("compose.yaml").read_text("utf-8")
    own = {"SERVICE_IMAGE", "OLLAMA_IMAGE", "SERVICE_IMAGE_DIGEST", "OLLAMA_IMAGE_DIGEST"}
    for line in (home / ".env").read_text("utf-8").splitlines():
        name = line.removeprefix("#").partition("=")[0]
        if "=" in line and name.isupper() and not name.startswith(("BUNDLE_", "COMPOSE_")) and name not in own:
            assert f"${{{name}:-" in compose, name


@pytest.mark.parametrize(("said", "dealt"), [("", "any"), ("prepared", "prepared")])
def test_the_stand_says_what_is_dealt_with_a_gpu_too(
    said: str, dealt: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_command()
    monkeypatch.setenv("POEM_DEAL", "any")  # of whoever packs
    packing.write_compose(home, PARTS, CONTENTS, Compose("nvidia"))
    monkeypatch.setenv("POEM_DEAL", said)
    services = services_of(home, "compose.yaml", "compose.nvidia.yaml")
    assert services["service"]["environment"]["POEM_DEAL"] == dealt
    (device,) = services["ollama"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"]) == ("nvidia", -1)


def services_of(home: Path, *files: str) -> dict[str, Any]:
    """The services as Compose understands these files."""
    command = ["docker", "compose", *(word for file in files for word in ("-f", file)), "config", "--format", "json"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout)["services"])


def write_as(home: Path, source: str) -> None:
    """The bundle's table and what is told of it, as if `source` had written poems beside those by hand."""
    deck = builtin_game().deck
    hands, rng = [deal(deck, Random(n)) for n in range(3)], Random(1)
    written = [
        Entry(hand, compose(builtin_game(), hand, draw_candidates(deck, rng), 1).answer, source).as_json()
        for hand in hands
    ]
    (home / "given.json").write_text(json.dumps(written), "utf-8")
    build_for_stand(builtin_game(), home / "files" / "poems.sqlite", 20, 0, home / "given.json")
    packing.write_texts(home, PARTS, CONTENTS, Compose())


@pytest.mark.parametrize(("source", "writer"), [("gemini", "table"), ("composer", "auto"), ("hand", "auto")])
def test_the_settings_tell_who_writes_first_by_who_wrote_the_table(home: Path, source: str, writer: str) -> None:
    write_as(home, source)
    assert f"#POEM_WRITER={writer}" in (home / ".env").read_text("utf-8").splitlines()
    packing.write_texts(home, PARTS, CONTENTS, Compose("nvidia"))
    assert "#POEM_WRITER=model" in (home / ".env").read_text("utf-8").splitlines()


@pytest.mark.parametrize(("source", "writer"), [("gemini", "table"), ("composer", "")])
def test_what_a_teacher_was_paid_for_is_shown_first_where_no_gpu_is(
    source: str, writer: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_command()
    write_as(home, source)
    monkeypatch.setenv("POEM_WRITER", "model")  # of whoever packs
    packing.write_compose(home, PARTS, CONTENTS, Compose())
    monkeypatch.delenv("POEM_WRITER")
    nvidia = ("compose.yaml", "compose.nvidia.yaml")
    assert services_of(home, "compose.yaml")["service"]["environment"]["POEM_WRITER"] == writer
    assert services_of(home, *nvidia)["service"]["environment"]["POEM_WRITER"] == ""
    monkeypatch.setenv("POEM_WRITER", "auto")
    for files in (nvidia[:1], nvidia):
        assert services_of(home, *files)["service"]["environment"]["POEM_WRITER"] == "auto"


def test_the_game_and_the_table_belong_together(home: Path) -> None:
    packed = load_game(home / "files")
    assert (packed.deck, packed.instructions, packed.sentences) == (
        builtin_game().deck,
        builtin_game().instructions,
        builtin_game().sentences,
    )
    assert packed.warnings == builtin_game().warnings
    table = Table.open(home / "files" / "poems.sqlite")
    assert len(table) == len(builtin_game().poems)
    assert table.stale_cards(packed.deck) == ()
    table.close()


def test_the_page_is_one_page_with_nothing_left_open(home: Path) -> None:
    text = (home / packing.PAGE).read_text("utf-8")
    assert "{{" not in text
    assert "{%" not in text
    assert "http://localhost:3001" in text
    assert "mansion-poem-tiny" in text
    assert "https://" not in text


def test_a_mac_spells_no_name_otherwise(home: Path) -> None:
    names = [str(path.relative_to(home)) for path in home.rglob("*")]
    assert [name for name in names if not unicodedata.is_normalized("NFD", name)] == []
    assert [name for name in names if not name.isascii()] == [packing.PAGE]


def test_the_script_for_windows_has_its_line_ends(home: Path) -> None:
    data = (home / "start.cmd").read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n") > 20
    assert b"NOT RUN" in data


@pytest.mark.parametrize("name", ["compose.yaml.missing", "start.cmd", "doctor", "licences/model.txt"])
@pytest.mark.parametrize("sha", ["sha256sum", "shasum"])
def test_a_file_that_is_cut_or_gone_is_refused_by_its_name(home: Path, tmp_path: Path, name: str, sha: str) -> None:
    if not shutil.which(sha):
        pytest.skip(f"{sha} is not on PATH")
    path = home / name.removesuffix(".missing")
    if name.endswith(".missing"):
        path.write_text("x")
        packing.write_sums(home)
        path.unlink()
        told = "がありません。"
    else:
        path.write_bytes(path.read_bytes()[:-7] + b"\n" * 3)
        told = "が壊れています"
    other = {"sha256sum": "shasum", "shasum": "sha256sum"}[sha]
    refused = run("start", home, **without(tmp_path, other))
    assert refused.returncode == 1
    assert f"× {path.relative_to(home)} {told}" in refused.stdout
    assert "   → tar ファイルをもう一度コピーし" in refused.stdout
    assert "Docker" not in refused.stdout


@pytest.mark.parametrize("script", ["start", "doctor"])
def test_a_missing_file_is_seen_where_sha256sum_only_warns_of_it(home: Path, tmp_path: Path, script: str) -> None:
    """FreeBSD's and the one of newer Macs, which say nothing of it on standard output."""
    path = without(tmp_path, "sha256sum", "shasum")
    stand_in = tmp_path / "tools" / "sha256sum"
    real = f"exec {shutil.which('sha256sum') or 'shasum -a 256'}"
    stand_in.write_text(f'#!/bin/sh\n[ "$1" != -c ] || {{ {real} "$@" | grep -v open; exit 1; }}\n{real} "$@"\n')
    stand_in.chmod(0o755)
    (home / "licences" / "model.txt").unlink()
    assert "× licences/model.txt がありません。" in run(script, home, **path).stdout
    packing.write_sums(home)
    (home / "files" / "terms.json").unlink()
    assert "× files/terms.json がありません。" in run(script, home, **path).stdout


@pytest.mark.parametrize("script", ["start", "doctor"])
def test_names_of_a_game_s_files_may_hold_blanks_and_signs(home: Path, tmp_path: Path, script: str) -> None:
    names = ["files/sentences/一 つ目 *.json", "files/sentences/[ab] $HOME.json"]
    for name in names:
        (home / name).write_text("[]\n")
    packing.write_sums(home)
    path = without(tmp_path)
    assert "○ ファイルがそろっています" in run(script, home, **path).stdout
    (home / names[0]).write_text("{}\n")
    (home / names[1]).unlink()
    told = run(script, home, **path).stdout
    assert f"× {names[1]} がありません。" in told
    if script == "doctor":
        assert f"△ {names[0]} が、はじめの内容と違います。" in told


def test_without_a_program_for_checksums_no_file_is_called_damaged(home: Path, tmp_path: Path) -> None:
    path = without(tmp_path, "sha256sum", "shasum")
    for script in ("start", "doctor"):
        told = run(script, home, **path).stdout
        assert "× sha256sum も shasum も見つかりません。" in told
        assert "壊れています" not in told


@pytest.mark.parametrize("cut", [2, 60, 700])
def test_a_cut_list_of_checksums_is_refused(home: Path, tmp_path: Path, cut: int) -> None:
    sums = home / "SHA256SUMS"
    sums.write_bytes(sums.read_bytes()[:-cut])
    refused = run("start", home, **without(tmp_path))
    assert refused.returncode == 1
    assert "× SHA256SUMS が途中で切れています。" in refused.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_without_their_common_part_say_so(home: Path, script: str) -> None:
    path = home / "scripts" / "common.sh"
    for data in (path.read_bytes()[:1000], b""):
        path.write_bytes(data)
        refused = run(script, home)
        assert refused.returncode == 1
        assert refused.stdout.startswith("× scripts/common.sh がないか、途中で切れています。\n   → ")


def test_what_a_stand_may_change_is_noted_and_not_refused(home: Path, tmp_path: Path) -> None:
    for name in (".env", "files/catchphrases.json"):
        path = home / name
        path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    no_docker = without(tmp_path)
    noted = run("start", home, **no_docker)
    assert "△ .env が、はじめの内容と違います。" in noted.stdout
    assert "△ files/catchphrases.json が、はじめの内容と違います。" in noted.stdout
    assert "○ ファイルがそろっています" in noted.stdout
    (home / "files" / "poems.sqlite").unlink()
    assert "× files/poems.sqlite がありません。" in run("start", home, **no_docker).stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_docker_it_says_what_to_install(home: Path, tmp_path: Path, script: str) -> None:
    refused = run(script, home, **without(tmp_path))
    assert refused.returncode == 1
    assert "× Docker が見つかりません。" in refused.stdout
    assert "   → Docker Desktop" in refused.stdout


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("echo linux/arm64", "× このパソコンの Docker は linux/arm64 です。この持ち出し版は linux/amd64 用です。"),
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "× Docker が動いていません。"),
        ("echo 'permission denied while trying to connect' >&2; exit 1", "× Docker を使う許可がありません。"),
        ('[ "$1" = version ] && echo linux/amd64', "× Docker Compose が見つかりません。"),
    ],
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_engine_that_will_not_do_is_told_by_its_reason(
    home: Path, tmp_path: Path, script: str, says: str, told: str
) -> None:
    refused = run(script, home, **engine(tmp_path, says))
    assert refused.returncode == 1
    assert told in refused.stdout
    assert refused.stdout.splitlines()[refused.stdout.splitlines().index(told) + 1].startswith("   → ")


OUT_OF_MEMORY = """case "$*" in
  "version --format {{.Server.Os}}/{{.Server.Arch}}") echo linux/amd64 ;;
  "info --format {{.MemTotal}}") echo 8000000000 ;;
  "ps --all "*) echo container ;;
  "inspect --format {{.State.Status}}{{with"*) echo "exited memory" ;;
  "compose down"*) echo no; exit 1 ;;
esac"""
"""An engine that stopped whatever it ran, and removes nothing."""


@pytest.mark.parametrize("bundled", ["home", "embedded"])
def test_the_memory_that_was_too_little_is_called_by_its_setting(
    bundled: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(bundled)
    lines = run("doctor", folder, **engine(tmp_path, OUT_OF_MEMORY)).stdout.splitlines()
    settings = (
        {"ollama": "MODEL_MEMORY", "service": "SERVICE_MEMORY"} if bundled == "home" else {"service": "MODEL_MEMORY"}
    )
    for name, setting in settings.items():
        told = lines[lines.index(f"× {name} がメモリ不足で止まりました。") + 1]
        assert told.startswith(f"   → .env の {setting} を増やし、")
        assert re.search(f"(?m)^#?{setting}=512m$", (folder / ".env").read_text("utf-8"))


@pytest.mark.parametrize(
    ("bundled", "told"),
    [("home", "△ GPU（NVIDIA H100）がありますが、使っていません。"), ("embedded", "○ GPU（NVIDIA H100）は使いません")],
)
def test_a_card_is_offered_where_the_bundle_can_use_it(
    bundled: str, told: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(bundled)
    path = engine(tmp_path, OUT_OF_MEMORY)
    (tmp_path / "tools" / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA H100\n")
    (tmp_path / "tools" / "nvidia-smi").chmod(0o755)
    said = run("doctor", folder, **path).stdout
    assert told in said.splitlines()
    assert ("COMPOSE_FILE" in said) == ("COMPOSE_FILE" in (folder / ".env").read_text("utf-8"))


def test_what_cannot_be_stopped_is_stopped_with_the_engine(home: Path, tmp_path: Path) -> None:
    """A restart would not do: it starts again whatever is not to stop."""
    refused = run("stop", home, **engine(tmp_path, OUT_OF_MEMORY))
    assert refused.returncode == 1
    assert "× 止められませんでした（no）\n" in refused.stdout
    assert "sudo systemctl stop docker.socket docker" in refused.stdout


@pytest.mark.parametrize(
    "line",
    [
        "POEM_API_KEY=hush-hush",
        "export POEM_API_KEY=hush-hush",
        "POEM_API_KEY = hush-hush  # hush",
        "\texport\tPOEM_API_KEY\t=\t'hush-hush'\t# hush",
        'POEM_API_KEY="hush-hush #hush"',
        "POEM_API_KEY: hush-hush\r",
        "#POEM_API_KEY = hush-hush",
        "\ufeffPOEM_API_KEY=hush-hush",
    ],
)
def test_a_file_to_send_holds_no_key_however_compose_reads_it(line: str, home: Path, tmp_path: Path) -> None:
    env = home / ".env"
    env.write_text(f"{line}\n{env.read_text('utf-8')}", "utf-8")
    value = "hush-hush #hush" if '"' in line else "hush-hush"
    sent = run("doctor", home, "--support", **engine(tmp_path, f"echo 'log: the key {value} is none'; exit 1"))
    (path,) = home.glob("support-*.txt")
    text = path.read_text("utf-8")
    assert path.name in sent.stdout
    assert "hush" not in text
    assert "log: the key (not shown) is none" in text


def test_equal_input_gives_an_equal_file(home: Path, tmp_path: Path) -> None:
    time = datetime(2026, 11, 22, tzinfo=UTC)
    first, second = home.parent / "a.tar", home.parent / "b.tar"
    packing.write_tar(home, first, time)
    for path in home.rglob("*"):
        os.utime(path, (1, 1))
    packing.write_tar(home, second, time)
    assert first.read_bytes() == second.read_bytes()
    unpacked = home.parent / "again"
    unpacked.mkdir()
    subprocess.run(["tar", "xf", str(first), "-C", str(unpacked)], check=True)
    assert os.access(unpacked / home.name / "start", os.X_OK)
    assert "○ ファイルがそろっています" in run("start", unpacked / home.name, **without(tmp_path)).stdout

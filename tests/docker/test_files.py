"""The files of the stack agree with each other and with the code; what needs no engine is told here."""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from poem_build.ship import containers
from poem_build.ship.containers import EMBEDDED, OVERRIDES, PODMAN, Compose
from poem_service.variables import VARIABLES
from support.docker_command import docker_command
from support.process import ROOT
from support.proxies import PROXIES, answering
from support.written import WRITTEN

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE_FILES = [ROOT / "compose.yaml", *(ROOT / name for name in (*OVERRIDES.values(), EMBEDDED, PODMAN))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SET_BY_MAKE = {"MODEL_LICENCE", "MODEL_GGUF", "MODEL_VERDICT", "MODEL_GAME_DIGEST", "GAME_DIR"}
"""What the image is made of and its labels say of the artifacts; a stand has no reason to."""
BY_GPU = {"RENDER_GROUP", "POEM_DEAL"}
"""What a GPU gives another default: whose devices they are, and that its model may write for any cards."""
OF_THE_CONTAINER = {
    *("POEM_HOST", "POEM_GPU", "POEM_GPU_LAYERS", "POEM_GGUF"),
    *("POEM_ENGINES", "POEM_OPENAI_URL", "POEM_OPENAI_KEY"),
}
"""Settings that the stack itself decides: where it listens in its container, its engine, its model, its GPU."""


def variables(text: str) -> dict[str, str]:
    """Name → default of every variable that a Compose file asks for, or hands on as it is."""
    asked = re.findall(r"\$\{([A-Z_]+)(?::[-?]([^}]*))?\}", text)
    handed_on = re.findall(r"(?m)^ +([A-Z_]+): *(?:#.*)?$", text)
    return {name: default or "" for name, default in asked} | dict.fromkeys(handed_on, "")


def variables_of(block: str) -> list[str]:
    """The names that commented-out lines of an .env would set."""
    return re.findall(r"(?m)^#([A-Z_]+)=", block)


def test_every_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    command = [str(part) for part in (hadolint, "--config", ROOT / ".hadolint.yaml", *DOCKERFILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert len(DOCKERFILES) == 3


def test_stages_of_one_name_are_one_stage() -> None:
    """Dockerfiles have no include: what two of them share stands in both, and BuildKit builds it once."""
    stages: dict[str, str] = {}
    shared = []
    for file in DOCKERFILES:
        text = re.sub(r"(?m)^#.*\n", "", file.read_text("utf-8"))
        for stage in re.split(r"(?m)^(?=FROM )", text)[1:]:
            name = stage.splitlines()[0].split(" AS ")[1]
            if name in stages:
                shared.append(name)
                assert stage.strip() == stages[name].strip(), f"{file.name}: {name}"
            stages[name] = stage
    assert {"llama", "build", "service"} <= set(shared)


def test_versions_are_pinned_and_agree() -> None:
    texts = {file.name: file.read_text("utf-8") for file in (*DOCKERFILES, *COMPOSE_FILES, ROOT / ".env.example")}
    assert [name for name, text in texts.items() if ":latest" in text] == []
    for text in texts.values():
        assert "syntax=" not in text
        assert "<<EOF" not in text
    assert variables(texts["compose.yaml"])["POEM_VERSION"] == PROJECT["version"]
    (wanted,) = {line for line in PROJECT["optional-dependencies"]["embedded"] if line.startswith("llama-cpp-python")}
    for file in DOCKERFILES:
        assert f"ARG LLAMA_CPP_PYTHON={wanted.partition('==')[2]}\n" in texts[file.name]
    bases = set(re.findall(r"(?:ARG|FROM) (?:[A-Z_]+_IMAGE=)?([a-z/]+:\S+)", "".join(texts.values())))
    assert bases == {"python:3.11-slim-bookworm", "ollama/ollama:0.33.0"}


def test_the_example_environment_names_every_value_with_its_default() -> None:
    asked: dict[str, str] = {}
    for file in COMPOSE_FILES:
        for name, default in variables(file.read_text("utf-8")).items():
            assert asked.setdefault(name, default) == default or name in BY_GPU, f"{file.name}: {name}"
    example = (ROOT / ".env.example").read_text("utf-8")
    shown = dict(re.findall(r"(?m)^#([A-Z_]+)=(.*)$", example))
    assert set(shown) == set(asked) - SET_BY_MAKE
    differing = {name for name, default in asked.items() if default and name in shown and shown[name] != default}
    assert differing == {"RENDER_GROUP"}
    examples = {name for name, default in asked.items() if not default and shown.get(name)}
    said = {
        name for block in re.findall(r"# .*for example:\n((?:#[A-Z].*\n)+)", example) for name in variables_of(block)
    }
    assert said == examples


def test_a_stand_tells_the_time_of_japan_even_where_the_image_knows_no_zones() -> None:
    rule = variables((ROOT / "compose.yaml").read_text("utf-8"))["TZ"]
    command = [sys.executable, "-c", "import time; print(time.strftime('%H:%M %Z', time.localtime(0)))"]
    env = {"TZ": rule, "TZDIR": "/nowhere"}
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout == "09:00 JST\n"
    assert f"\n#TZ={rule}\n" in (ROOT / "docker" / "bundle" / "env.jinja").read_text("utf-8")


def test_every_setting_of_the_service_can_be_changed() -> None:
    given = set(re.findall(r"(?m)^      ([A-Z_]+): ", (ROOT / "compose.yaml").read_text("utf-8")))
    assert set(VARIABLES) - given - OF_THE_CONTAINER == {"POEM_PORT"}  # that is `ports`


@pytest.mark.parametrize(
    ("gpu", "stack", "profile"),
    [
        (gpu, stack, p)
        for (gpu, stack), p in itertools.product(
            [("", ""), ("nvidia", ""), ("amd", ""), ("", "embedded")], ["", "build"]
        )
    ],
)
def test_compose_understands_every_combination(gpu: str, stack: str, profile: str) -> None:
    docker_command()
    compose = Compose(gpu, stack, {"RENDER_GROUP": "105", "COMPOSE_PROFILES": profile, "COMPOSE_PROJECT_NAME": "test"})
    config = compose.config()
    services: dict[str, Any] = config["services"]
    wanted = {"service"} | ({"ollama"} if not stack else set()) | ({"build"} if profile else set())
    assert set(services) == wanted
    for name in wanted - {"build"}:
        one = services[name]
        assert one["read_only"]
        assert one["user"] == "10001:10001"
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["restart"] == "unless-stopped"
        assert one["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
        assert int(one["mem_limit"]) > 0
        assert one["healthcheck"]["test"]
    assert [name for name, one in services.items() if one.get("ports")] == ["service"]
    assert services["service"]["ports"][0]["host_ip"] == "127.0.0.1"
    assert set(services["service"]["networks"]) == ({"front"} if stack else {"front", "model"})
    if not stack:
        assert config["networks"]["model"]["internal"]
        assert set(services["ollama"]["networks"]) == {"model"}
    match gpu:
        case "nvidia":
            (device,) = services["ollama"]["deploy"]["resources"]["reservations"]["devices"]
            assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        case "amd":
            assert [device["source"] for device in services["ollama"]["devices"]] == ["/dev/kfd", "/dev/dri"]
            assert services["ollama"]["group_add"] == ["105", "44"]


@pytest.mark.parametrize("gpu", ["", "nvidia", "amd"])
def test_another_game_s_model_has_an_image_of_its_own(gpu: str) -> None:
    docker_command()
    compose = Compose(gpu, env={"RENDER_GROUP": "105", "RECIPE": "tiny", "GAME_NAME": "their-game"})
    ollama = compose.config()["services"]["ollama"]
    tag = "tiny-their-game-rocm" if gpu == "amd" else "tiny-their-game"
    assert ollama["image"] == f"mansion-poem-model:{tag}"
    assert ollama["build"]["labels"]["mansion-poem.tag"] == tag


@pytest.mark.parametrize(
    ("name", "folder", "refused"),
    [
        ("", "game/poem/builtin", False),
        ("their-game", "artifacts/tiny-their-game/game", False),
        ("their-game", "game/poem/builtin", True),
    ],
)
def test_the_built_in_game_is_not_trained_under_another_s_name(name: str, folder: str, refused: bool) -> None:
    """What the stage runs before it trains; .env can name a game, and only `make` brings its folder into the build."""
    (stage,) = re.findall(
        r"(?ms)^FROM build AS trained\n(.*?)^FROM ", (ROOT / "docker/model.Dockerfile").read_text("utf-8")
    )
    before = "\n".join(re.findall(r"(?m)^RUN ([^-].*)$", stage))
    env = {"PATH": os.environ["PATH"], "GAME_NAME": name, "GAME_DIR": folder}
    done = subprocess.run(["sh", "-euc", before], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == refused
    assert ("make image GAME=DIR" in done.stderr) == refused


@pytest.mark.parametrize("value", [None, "10.3.0"])
def test_an_amd_card_may_be_given_another_s_name(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """ROCm finds no card at all where the variable is there and empty."""
    docker_command()
    monkeypatch.delenv("HSA_OVERRIDE_GFX_VERSION", raising=False)
    given = {"HSA_OVERRIDE_GFX_VERSION": value} if value else {}
    compose = Compose("amd", "", {"RENDER_GROUP": "105", **given})
    assert compose.config()["services"]["ollama"]["environment"]["HSA_OVERRIDE_GFX_VERSION"] == value


@pytest.mark.parametrize("answers", ["Podman Engine", "Docker Engine"])
def test_podman_is_not_asked_for_what_it_refuses(answers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`docker` answers as either engine does; what a file means it asks the real command."""
    docker = docker_command()
    (tmp_path / "docker").write_text(f'#!/bin/sh\n[ "$1" = version ] && exec echo "{answers}:"\nexec {docker} "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    containers.is_podman.cache_clear()
    try:
        networks = Compose().config()["networks"]
    finally:
        containers.is_podman.cache_clear()
    assert networks["model"]["internal"]
    refused = "com.docker.network.bridge.enable_ip_masquerade" in networks["front"].get("driver_opts", {})
    assert refused == (answers == "Docker Engine")


def test_the_prover_has_what_registering_imports() -> None:
    """model.Dockerfile names the packages of its `proved` stage one by one, to do without torch."""
    dockerfile = (ROOT / "docker" / "model.Dockerfile").read_text("utf-8")
    (named,) = re.findall(r"/opt/register/bin/pip install --constraint constraints.txt (.+)", dockerfile)
    have = {"mansion-poem"}
    open_ends = named.split()
    while open_ends:
        name = canonicalize_name(open_ends.pop())
        if name not in have:
            have.add(name)
            needs = map(Requirement, metadata.requires(name) or [])
            open_ends += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    tops = metadata.packages_distributions()
    absent = [top for top, owners in tops.items() if have.isdisjoint(map(canonicalize_name, owners))]
    script = (
        "import sys\n"
        "for name in sys.argv[1:]: sys.modules[name] = None\n"
        "import httpx\n"
        "import poem_build.cli.main, poem_build.data.dataset, poem_build.ship.register\n"
    )
    env = {"PYTHONPATH": f"{ROOT / 'game'}:{ROOT / 'build'}"}
    kept = {"poem", "poem_build"}
    command = [sys.executable, "-c", script, *(name for name in absent if name not in kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr


def test_a_store_is_kept_as_far_as_its_manifests_name_it(tmp_path: Path) -> None:
    source = tmp_path / "models"
    (source / "blobs").mkdir(parents=True)
    (source / "manifests" / "library" / "m").mkdir(parents=True)
    names = []
    for content in (b"GGUF weights", b"{}", b"orphan"):
        names.append(hashlib.sha256(content).hexdigest())
        (source / "blobs" / f"sha256-{names[-1]}").write_bytes(content)
    manifest = f'{{"config":{{"digest":"sha256:{names[1]}"}},"layers":[{{"digest":"sha256:{names[0]}"}}]}}'
    (source / "manifests" / "library" / "m" / "tag").write_text(manifest)
    command = [
        str(part) for part in ("sh", ROOT / "docker" / "store.sh", source, tmp_path / "weights", tmp_path / "rest")
    ]
    subprocess.run(command, check=True)
    kept = {str(p.relative_to(tmp_path)): p.stat().st_mtime for p in tmp_path.rglob("*") if "models" not in p.parts}
    wanted = {f"weights/blobs/sha256-{names[0]}", f"rest/blobs/sha256-{names[1]}", "rest/manifests/library/m/tag"}
    assert {name for name in kept if (tmp_path / name).is_file()} == wanted
    assert set(kept.values()) == {0.0}

    (source / "blobs" / f"sha256-{names[0]}").write_bytes(b"GGUF damaged")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"sha256-{names[0]}: not what its name says" in done.stderr


def in_bundle(folder: Path, env: str, script: str, **environ: str) -> str:
    """What a script prints that reads the bundle's common part beside this `.env`."""
    (folder / ".env").write_bytes(env.encode())
    common = ROOT / "docker" / "bundle" / "scripts" / "common.sh"
    path = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["sh", "-uc", f'. "{common}"; {script}'],
        cwd=folder,
        env=path | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_scripts_read_a_value_as_it_was_meant_and_as_compose_reads_it(tmp_path: Path) -> None:
    lines = "".join(f"A{n}={written}\n" for n, (written, _) in enumerate(WRITTEN))
    script = f"for n in $(seq 0 {len(WRITTEN) - 1}); do setting A$n; echo; done"
    wanted = [value for _, value in WRITTEN]
    assert in_bundle(tmp_path, f"\ufeff# first\n{lines}", script).split("\n")[:-1] == wanted
    environ = {f"A{n}": written for n, (written, _) in enumerate(WRITTEN) if written}
    assert in_bundle(tmp_path, "", script, **environ).split("\n")[:-1] == wanted
    docker_command()
    otherwise = ("“", "\ufeff", '"un', '"a"', "# ")  # Compose refuses it, or takes it word for word
    plain = [(written, value) for written, value in WRITTEN if not written.startswith(otherwise)]
    environment = {f"A{n}": f"${{A{n}:-}}" for n in range(len(plain))}
    (tmp_path / "compose.yaml").write_text(
        json.dumps({"services": {"ask": {"image": "x", "environment": environment}}})
    )
    (tmp_path / ".env").write_bytes("".join(f"A{n}={written}\n" for n, (written, _) in enumerate(plain)).encode())
    command = ["docker", "compose", "config", "--format", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["services"]["ask"]["environment"]
    assert [found[f"A{n}"] for n in range(len(plain))] == [value for _, value in plain]


PLACES = [
    ("127.0.0.1", "3001", "127.0.0.1", "3001", "localhost"),
    ("::1", "３００２", "[::1]", "3002", "localhost"),
    ("[::1]/", "3002", "[::1]", "3002", "localhost"),
    ("::", "'3002'", "[::]", "3002", "localhost"),
    ("localhost", "3002", "127.0.0.1", "3002", "localhost"),
    ("０．０．０．０ # all", '"3002" # mine', "0.0.0.0", "3002", "localhost"),
    ("192.168.1.5", "3001", "192.168.1.5", "3001", "192.168.1.5"),
    ("fd00::5", "3001", "[fd00::5]", "3001", "[fd00::5]"),
]


@pytest.mark.parametrize(("publish", "port", "address", "number", "page"), PLACES)
def test_where_to_listen_is_understood_by_the_scripts_and_by_make_up(
    publish: str, port: str, address: str, number: str, page: str, tmp_path: Path
) -> None:
    env = f"POEM_PUBLISH={publish}\nPOEM_PORT={port}\n"
    told = in_bundle(tmp_path, env, "sh -c 'echo \"$POEM_PUBLISH $POEM_PORT\"'; address")
    assert told == f"{address} {number}\nhttp://{page}:{number}\n"
    docker_command()
    place = containers.where_to_listen({"POEM_PUBLISH": publish, "POEM_PORT": port})
    assert place == {"POEM_PUBLISH": address, "POEM_PORT": number}
    published = Compose(env=place).config()["services"]["service"]["ports"][0]
    assert (published["host_ip"], published["published"]) == (address.strip("[]"), number)


def test_a_dollar_that_compose_took_for_a_variable_is_told(tmp_path: Path) -> None:
    docker_command()
    (tmp_path / "compose.yaml").write_text(
        '{"services": {"ask": {"image": "x", "environment": {"K": "${K:-}${GAME_NAME:+x}"}}}}'
    )
    told = in_bundle(tmp_path, "K=pa$word\n", "note_dollars")
    assert told.startswith("△ .env の $word は、空の変数として")
    assert in_bundle(tmp_path, "K='pa$word'\n", "note_dollars") == ""
    assert Compose(env={"K": "x"}).dollars() == []


def test_looks_at_the_service_go_through_no_proxy(tmp_path: Path) -> None:
    """The same look in the stack, in start and in start.cmd; Docker hands its proxies on to every container."""
    compose = re.sub(r"\n +", " ", (ROOT / "compose.yaml").read_text("utf-8"))
    (look,) = re.findall(r'- "(import http[^"]+)"', compose)
    (start,) = re.findall(r'LOOK="([^"]+)"', (ROOT / "docker" / "bundle" / "start").read_text("utf-8"))
    (cmd,) = re.findall(r'python -c "([^"]+)"', (ROOT / "docker" / "bundle" / "start.cmd").read_text("utf-8"))
    assert look == start == cmd
    assert "!" not in cmd  # the delayed expansion takes a lone one away
    for status in (200, 503):
        with answering(status) as port:
            script = look.replace("3001", str(port))
            env = {"PATH": os.environ["PATH"]} | PROXIES
            assert subprocess.run([sys.executable, "-c", script], env=env, check=False).returncode == (status != 200)
    assert "OLLAMA_HOST=127.0.0.1:11434 ollama show" in compose  # to 0.0.0.0, where it listens, a proxy leads

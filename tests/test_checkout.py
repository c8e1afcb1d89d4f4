"""A checkout as others have it: cloned by Git for Windows, in a folder whose path has a blank."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.docker_command import docker_command
from support.process import free_port

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no git, or no repository to clone"
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed, cloned with the setting that Git for Windows proposes."""
    to = tmp_path_factory.mktemp("clone") / "マンション poem"
    ours = ["git", "-c", "safe.directory=*", "-c", "core.autocrlf=true"]
    subprocess.run([*ours, "clone", "--quiet", str(ROOT), str(to)], check=True)
    return to


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for commands that stand in for others; each writes down what it was given."""
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


def stand_in(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(command: list[str], cwd: Path, tools: Path | None = None, **environ: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | environ
    if tools:
        env["PATH"] = f"{tools}:{env['PATH']}"
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, encoding="utf-8", check=False, timeout=60)


def test_every_text_has_the_line_ends_that_it_was_written_with(clone: Path) -> None:
    names = run(["git", "ls-files", "-z"], clone).stdout.split("\0")[:-1]
    texts = [name for name in names if b"\0" not in (clone / name).read_bytes()]
    assert [name for name in texts if b"\r" in (clone / name).read_bytes()] == []
    assert len(texts) > 400


def test_the_scripts_of_images_run(clone: Path, tools: Path, tmp_path: Path) -> None:
    (tmp_path / "store" / "manifests").mkdir(parents=True)
    stored = run([str(clone / "docker" / "store.sh"), "store", "weights", "rest"], tmp_path)
    assert stored.returncode == 0, stored.stderr
    assert (tmp_path / "rest" / "manifests").is_dir()
    stand_in(tools / "ollama", 'echo "$* with $LLAMA_ARG_THREADS threads"')
    served = run([str(clone / "docker" / "serve-model.sh")], tmp_path, tools, MODEL_THREADS="3")
    assert (served.stdout, served.stderr) == ("serve with 3 threads\n", "")


@pytest.mark.parametrize("script", ["start", "stop", "doctor"])
def test_the_scripts_of_a_bundle_run(clone: Path, script: str, tools: Path) -> None:
    stand_in(tools / "docker", "exit 1")
    said = run([str(clone / "docker" / "bundle" / script)], clone, tools)
    assert said.returncode == 1
    assert "× " in said.stdout
    assert said.stderr == ""


@pytest.mark.parametrize("game", ["./game/poem/built in", "game/poem/built in", "our-game"])
def test_compose_finds_its_folders(clone: Path, game: str) -> None:
    docker_command()
    found = run(["docker", "compose", "config", "--format", "json"], clone, GAME=game)
    assert found.returncode == 0, found.stderr
    service = json.loads(found.stdout)["services"]["service"]
    assert service["build"]["context"] == str(clone)
    sources = {mount["target"]: mount["source"] for mount in service["volumes"]}
    assert (sources["/files"], sources["/game"]) == (f"{clone}/docker/files", str(clone / game))


def test_make_up_takes_a_game_by_the_name_of_its_folder(clone: Path, tools: Path) -> None:
    """Before the engine; what the files of the stack mean, the real command tells."""
    docker = docker_command()
    shutil.copytree(clone / "game" / "poem" / "builtin", clone / "our-game")
    real = f'info* ) ;; "compose version"* | *" config "*) exec {docker} "$@" ;;'
    stand_in(tools / "docker", f'case "$*" in {real} *) echo "$*" >>"$0.asked"; exit 1 ;; esac')
    port = str(free_port())
    done = run(["make", "up", "GAME=our-game", f"PYTHON={sys.executable}"], clone, tools, POEM_PORT=port)
    assert "building mansion-poem-model:tiny-our-game, " in done.stdout, done.stderr
    assert (tools / "docker.asked").read_text("utf-8").endswith("build ollama service\n")


def test_make_hands_a_game_s_folder_on(clone: Path, tools: Path) -> None:
    """Without an engine `make image` makes the model alone; `poem-build` and the set-up stand in for themselves."""
    game = tools / "a game of ours"
    shutil.copytree(clone / "game" / "poem" / "builtin", game)
    stand_in(tools / "docker", "exit 1")
    stand_in(clone / ".venv" / "bin" / "poem-build", 'printf "%s\\n" "$@"')
    (clone / ".venv" / ".ready").touch()
    switches = [f"GAME={game}", "BASE=a base.gguf", "UNMERGED=1"]
    done = run(["make", "image", *switches, f"PYTHON={sys.executable}"], clone, tools)
    given = "\n".join(["run", "--recipe", "tiny", "--game", str(game), "--base", "a base.gguf", "--unmerged"])
    assert f"\n{given}\n" in done.stdout


def test_setting_up_compiles_llama_cpp_as_it_should(clone: Path, tools: Path) -> None:
    stand_in(tools / "uv", 'printf "%s\\n" "$CMAKE_ARGS" >"$0.args"')
    stand_in(clone / "made" / "bin" / "python", "")
    done = run(
        [sys.executable, "build/environment.py", "made", "service"], clone, tools, CMAKE_ARGS="-DGGML_NATIVE=OFF"
    )
    assert done.returncode == 0, done.stderr
    hook = f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={clone}/build/llama.cpp.cmake"
    assert shlex.split((tools / "uv.args").read_text()) == ["-DLLAVA_BUILD=OFF", hook, "-DGGML_NATIVE=OFF"]
    assert "PyTorch" not in done.stdout, "it is there already"


@pytest.mark.parametrize(("installer", "there"), [("uv", False), ("uv", True), ("pip", True)])
def test_the_environment_has_pip_whoever_made_it(clone: Path, tools: Path, installer: str, there: bool) -> None:
    """What is fetched after the installing is fetched by pip; uv's own environments have none unless it is asked."""
    made = tools / "made"
    pip = made / "has-pip"
    cases = f'"-m ensurepip") : >"{pip}" ;; *pip* | *poem_build*) [ -e "{pip}" ] ;;'
    stand_in((made if there else tools) / "bin" / "python", f'case "$*" in {cases} esac')
    if installer == "uv":
        asked = f'case "$*" in "venv --seed "* | "pip install "*" pip") : >"{pip}" ;; esac'
        stand_in(tools / "uv", f'PATH=/usr/bin:/bin; mkdir -p "{made}"; cp -R "{tools}/bin" "{made}"; {asked}')
        (tools / "bin").mkdir(exist_ok=True)
    done = run([sys.executable, "build/environment.py", str(made), "service"], clone, PATH=str(tools))
    assert done.returncode == 0, done.stdout + done.stderr
    assert pip.exists()

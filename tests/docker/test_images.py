"""What is in the images is what should be there, and nothing else."""

import hashlib
import json
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from poem.game import builtin_game
from poem_build.ship import containers, sbom
from poem_build.ship.made import whole
from support.process import ROOT
from support.stack import Built

pytestmark = pytest.mark.docker
USERS = {f"/etc/{name}" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")}


def extra(built: Built) -> str:
    return "embedded" if built.kind else "service"


def test_the_service_holds_its_extra_and_nothing_else(built: Built) -> None:
    image = built.image("service")
    listed = built.sh(image, "ls -d /opt/mansion-poem/lib/python3*/site-packages/*.dist-info").split()
    there = {canonicalize_name(Path(line).name.split("-")[0]) for line in listed}
    assert there == closure(extra(built))
    tops = built.sh(image, "ls -d /opt/mansion-poem/lib/python3*/site-packages/*").split()
    assert {Path(top).name for top in tops} & {"poem", "poem_service", "poem_build", "torch"} == {
        "poem",
        "poem_service",
    }


def test_no_compiler_is_left(built: Built) -> None:
    tools = "cc gcc g++ c++ clang make cmake ninja ld as cargo rustc go"
    for image in {built.image(name) for name in built.config["services"]}:
        assert built.sh(image, f"for tool in {tools}; do command -v $tool; done; true") == "", image


def test_the_service_adds_only_its_own_folders(built: Built) -> None:
    allowed = ["/opt/mansion-poem/", "/data"]
    if built.kind:
        allowed += ["/models/model-Q4_K_M.gguf", "/usr/share/mansion-poem/"]
    added = set(files(built, built.image("service"))) - set(files(built, _base(built)))
    assert {f for f in added if not f.startswith(tuple(allowed))} - {f"{u}-" for u in USERS} - USERS == set()


def test_one_model_and_its_provenance_are_in_the_image(built: Built) -> None:
    artifacts = whole("tiny")
    image = built.holder
    inspected = containers.image(image)
    assert inspected is not None
    assert not inspected["Config"].get("Volumes"), "a volume would hide the model"
    labels = inspected["Config"]["Labels"]
    gguf = artifacts["gguf"]["files"]["model-Q4_K_M.gguf"]
    assert labels["mansion-poem.gguf"] == gguf
    assert (labels["mansion-poem.recipe"], labels["mansion-poem.licence"]) == ("tiny", "MIT")
    assert (labels["mansion-poem.game"], labels["mansion-poem.game-digest"]) == ("", builtin_game().deck.digest)
    for stage in ("dataset", "adapter", "merged", "f16", "gguf", "modelfile", "verify"):
        there = built.sh(image, f"cat {labels['mansion-poem.provenance']}/{stage}/artifact.json")
        assert there == (ROOT / "artifacts" / "tiny" / stage / "artifact.json").read_text("utf-8")
    hashed = built.sh(image, "find /models -type f -size +1000k -exec sha256sum {} +").splitlines()
    assert [line.split()[0] for line in hashed] == [gguf]


def test_the_store_is_whole_and_has_no_orphan(built: Built) -> None:
    if built.kind:
        pytest.skip("the embedded image has the GGUF as a file, and no store")
    hashed = [line.split() for line in built.sh(built.holder, "cd /models/blobs; sha256sum *").splitlines()]
    blobs = {name: digest for digest, name in hashed}
    assert {name.removeprefix("sha256-"): digest for name, digest in blobs.items()} == {d: d for d in blobs.values()}
    names = built.sh(built.holder, "cd /models/manifests; find . -type f").split()
    assert sorted(Path(name).parts[-2:] for name in names) == [("mansion-poem", "latest"), ("mansion-poem", "tiny")]
    manifest, digest = store(built, built.holder)
    wanted = [manifest["config"], *manifest["layers"]]
    assert {one["digest"].replace(":", "-") for one in wanted} == set(blobs)
    registered = json.loads(built.sh(built.holder, "cat /usr/share/mansion-poem/register/artifact.json"))
    assert registered["report"]["digest"] == digest
    added = set(files(built, built.holder)) - set(
        files(built, built.config["services"]["ollama"]["build"]["args"]["OLLAMA_BASE_IMAGE"])
    )
    assert {f for f in added if not f.startswith(("/models/", "/usr/share/mansion-poem/"))} == {
        "/usr/local/bin/serve-model"
    }


def test_two_builds_make_the_same_model(built: Built) -> None:
    """The store's layers too, so that a second image moves nothing to a machine that has the first."""
    if built.kind:
        pytest.skip("the embedded image has the GGUF as it lies in the artifacts")
    again = "mansion-poem-test:again"
    build = built.config["services"]["ollama"]["build"]
    args = [part for name, value in build["args"].items() for part in ("--build-arg", f"{name}={value}")]
    command = ("build", "--no-cache", "--quiet", "--tag", again, "--file", build["dockerfile"], *args, build["context"])
    containers.show(*command)
    try:
        assert store(built, again)[1] == store(built, built.holder)[1]
        before, now = (containers.image(name) for name in (built.holder, again))
        assert before is not None
        assert now is not None
        assert now["RootFS"]["Layers"][-4:-2] == before["RootFS"]["Layers"][-4:-2]
    finally:
        containers.ask("rmi", again)


def test_the_bill_of_materials_names_every_package_and_the_model(built: Built, tmp_path: Path) -> None:
    for service in built.config["services"]:
        bill = json.loads(sbom.write(built.image(service), tmp_path).read_text("utf-8"))
        assert bill["bomFormat"] == "CycloneDX"
        found = {(c.get("purl", "").partition("/")[0], c["name"]): c for c in bill["components"]}
        debian = built.sh(built.image(service), "dpkg-query -W -f '${Package} '").split()
        assert {name for kind, name in found if kind == "pkg:deb"} == set(debian)
        if service == "service":
            python = {canonicalize_name(name) for kind, name in found if kind == "pkg:pypi"}
            assert closure(extra(built)) - python == set()
        models = [c for c in bill["components"] if c["type"] == "machine-learning-model"]
        holds = built.image(service) == built.holder
        assert [model["hashes"][0]["content"] for model in models] == [
            whole("tiny")["gguf"]["files"]["model-Q4_K_M.gguf"]
        ] * holds


def closure(extra: str) -> set[str]:
    """The project with an extra, and all that needs here, by canonical name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found: set[str] = {canonicalize_name(project["name"])}
    open_ends = [Requirement(line) for line in project["optional-dependencies"][extra]]
    seen: set[str] = set()
    while open_ends:
        needed = open_ends.pop()
        if str(needed) in seen:
            continue
        seen.add(str(needed))
        name = canonicalize_name(needed.name)
        if name in found and name == canonicalize_name(project["name"]):
            lines = [line for one in needed.extras for line in project["optional-dependencies"][one]]
        else:
            lines = [line for line in metadata.requires(name) or [] if _here(Requirement(line), needed.extras)]
        found.add(name)
        open_ends += map(Requirement, lines)
    return found


def _here(needed: Requirement, extras: set[str]) -> bool:
    return needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in (extras or {""}))


def files(built: Built, image: str) -> list[str]:
    return built.sh(image, "find / -xdev -type f").splitlines()


def store(built: Built, image: str) -> tuple[dict[str, Any], str]:
    """The manifest of the recipe's model, and its digest, which is the model's."""
    text = built.sh(image, "cat /models/manifests/registry.ollama.ai/library/mansion-poem/tiny")
    return json.loads(text), hashlib.sha256(text.encode()).hexdigest()


def _base(built: Built) -> str:
    return str(built.config["services"]["service"]["build"]["args"]["PYTHON_IMAGE"])

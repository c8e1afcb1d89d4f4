"""The chart and the manifests of deploy/: what the API takes, what no pod may do, and names that are there."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from poem_build.cli.main import cli
from poem_build.data.taught import FOLDER as POEMS
from poem_build.recipe.schema import load_recipe
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.variables import VARIABLES

DEPLOY = Path(__file__).parents[1] / "deploy"
SETS = ("llama-server", "ollama", "table", "vllm")
MANIFESTS = [DEPLOY / "manifests" / f"{name}.yaml" for name in SETS]
JOBS = sorted((DEPLOY / "jobs").glob("*.yaml"))
CAMPAIGN = DEPLOY / "jobs" / "campaign.yaml"
"""What the two Jobs of the build share."""
FOREIGN = {"ServiceMonitor", "PrometheusRule"}
"""Of the Prometheus Operator: the API's own schemas do not know them."""
SCALE = DEPLOY.parent / "docs" / "scale.md"
POSTGRESQL = 5432
OWN_STOP_S = 9
"""What the service takes from SIGTERM on (docs/reliability.md)."""
OLDEST = ("--kube-version", "1.30")
HELM = shutil.which("helm")
needs_helm = pytest.mark.skipif(
    HELM is None, reason="no helm: that the manifests are what the chart renders is not seen"
)

Object = dict[str, Any]


@cache
def objects(path: Path) -> list[Object]:
    return [found for found in yaml.load_all(path.read_text("utf-8"), yaml.CSafeLoader) if found]


def of_kind(path: Path, kind: str) -> list[Object]:
    return [found for found in objects(path) if found["kind"] == kind]


def pods(path: Path) -> Iterator[Object]:
    """The pods of a file, most of them as templates."""
    return (
        found["spec"].get("template", found)
        for found in objects(path)
        if {"template", "containers"} & found.get("spec", {}).keys()
    )


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert HELM
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


def template(name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """As `make manifests` renders."""
    values = str(DEPLOY / "values" / f"{name}.yaml")
    place = ("mansion-poem", str(DEPLOY / "chart"), "--namespace", "mansion-poem", *OLDEST)
    return helm("template", *place, "--values", values, *more)


def test_every_value_set_has_its_manifest() -> None:
    assert {path.stem for path in (DEPLOY / "values").iterdir()} == set(SETS)
    assert sorted((DEPLOY / "manifests").iterdir()) == MANIFESTS


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("path", [*MANIFESTS, *JOBS], ids=lambda path: path.stem)
def test_the_api_would_take_each_object(path: Path, version: str) -> None:
    kinds = [found["kind"] for found in objects(path)]
    assert len(kinds) >= 1
    for found in objects(path):
        if found["kind"] not in FOREIGN:
            kubernetes_validate.validate(found, version, strict=True)


@needs_helm
@pytest.mark.parametrize("name", SETS)
def test_the_manifests_are_what_the_chart_renders(name: str) -> None:
    done = template(name)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (DEPLOY / "manifests" / f"{name}.yaml").read_text("utf-8"), "run `make manifests`"


@needs_helm
def test_the_chart_refuses_what_it_does_not_know() -> None:
    assert helm("lint", "--strict", str(DEPLOY / "chart"), *OLDEST).returncode == 0
    unknown = template("table", "--set", "service.replica=3")
    assert unknown.returncode != 0
    assert "replica" in unknown.stderr
    empty = template("table", "--set", "engines.llama.kind=llama-server", "--set", "engines.llama.image=x")
    assert "engines.llama: llama-server needs weights (claim or image) and file" in empty.stderr
    keyless = template("table", "--set", "monitoring.enabled=true", "--set", "monitoring.apiKey=POEM_API_KEY")
    assert "monitoring.apiKey: it is a key of secret, which is not set" in keyless.stderr


@needs_helm
def test_what_no_value_set_asks_for_renders_too() -> None:
    """A canary of another kind, weights from an image, a game of one's own."""
    second = (
        "kind=llama-server",
        "image=x",
        "share=5",
        "model=next",
        "weights.image=models:1",
        "file=next.gguf",
        "gpus=2",
    )
    third = ("kind=ollama", "image=x")
    done = template(
        "llama-server",
        *(f"--set=engines.second.{each}" for each in second),
        *(f"--set=engines.third.{each}" for each in third),
        "--set=service.game=my-game",
    )
    found = [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each["kind"] not in FOREIGN]
    for each in found:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    of = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in found if "spec" in each}
    container = of["Deployment", "mansion-poem"]["template"]["spec"]["containers"][0]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert given["POEM_GAME"] == "/game"
    assert given["POEM_ENGINES"].split(", ") == [
        "openai=http://mansion-poem-llama-0.mansion-poem-llama:8080",
        "5%:openai=http://mansion-poem-second-0.mansion-poem-second:8080#next",
        "ollama=http://mansion-poem-third-0.mansion-poem-third:11434",
    ]
    canary = of["StatefulSet", "mansion-poem-second"]["template"]["spec"]
    assert {"--alias=next", "--model=/models/next.gguf"} <= set(canary["containers"][0]["args"])
    assert canary["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert {"name": "weights", "image": {"reference": "models:1"}} in canary["volumes"]


@pytest.mark.parametrize("path", [*MANIFESTS, *JOBS], ids=lambda path: path.stem)
def test_no_pod_may_do_more_than_it_needs(path: Path) -> None:
    for pod in pods(path):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "a service called poem would set POEM_PORT"
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            secret = [each["name"] for each in container.get("env", []) if re.search("KEY|TOKEN|LOG_DB", each["name"])]
            assert not [each for each in container.get("env", []) if each["name"] in secret and "value" in each]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_no_way_leads_to_an_engine_but_the_services(path: Path) -> None:
    policies = [found["spec"] for found in of_kind(path, "NetworkPolicy")]

    def those_of(labels: dict[str, str]) -> list[Object]:
        return [spec for spec in policies if spec["podSelector"]["matchLabels"].items() <= labels.items()]

    service = of_kind(path, "Deployment")[0]["spec"]["template"]["metadata"]["labels"]
    ways = [way for spec in those_of(service) for way in spec.get("egress", [])]
    for engine in of_kind(path, "StatefulSet"):
        labels = engine["spec"]["template"]["metadata"]["labels"]
        found = those_of(labels)
        assert all(spec["policyTypes"] == ["Ingress", "Egress"] for spec in found)
        let_in = [peer for spec in found for way in spec.get("ingress", []) for peer in way["from"]]
        assert let_in == [{"podSelector": {"matchLabels": service}}]
        assert not [way for spec in found for way in spec.get("egress", [])]
        port = engine["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]
        to = {"to": [{"podSelector": {"matchLabels": labels}}], "ports": [{"protocol": "TCP", "port": port}]}
        assert to in ways


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_service_takes_its_settings_and_has_time_to_stop(path: Path) -> None:
    spec = of_kind(path, "Deployment")[0]["spec"]["template"]["spec"]
    container = spec["containers"][0]
    given = {each["name"]: each.get("value", "") for each in container["env"]}
    assert given.keys() - VARIABLES.keys() <= {"POEM_ENGINES"}
    settings = Settings.from_env(given)
    assert settings.max_active == int(given["POEM_MAX_ACTIVE"])
    engines = {found["metadata"]["name"] for found in of_kind(path, "StatefulSet")}
    addresses = " ".join(given.get(name, "") for name in ("OLLAMA_HOST", "POEM_OPENAI_URL", "POEM_ENGINES"))
    assert set(re.findall(r"http://[a-z0-9-]+\.([a-z0-9-]+):", addresses)) == engines
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > drain + OWN_STOP_S


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_log_in_postgresql_has_an_image_with_its_driver(path: Path) -> None:
    ways = [way for policy in of_kind(path, "NetworkPolicy") for way in policy["spec"].get("egress", [])]
    logs = any(port["port"] == POSTGRESQL for way in ways for port in way["ports"])
    image = of_kind(path, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert logs == (path.stem == "vllm")
    assert image == f"mansion-poem-service:0.1.0{'-postgresql' if logs else ''}"
    assert f"EXTRA=postgresql -t {image} ." in SCALE.read_text("utf-8") or not logs


def test_llama_server_keeps_the_instructions_as_the_model_s_image_does() -> None:
    image = (DEPLOY.parent / "docker" / "model.Dockerfile").read_text("utf-8")
    engine = of_kind(DEPLOY / "manifests" / "llama-server.yaml", "StatefulSet")[0]["spec"]["template"]["spec"]
    given = {each["name"]: each.get("value") for each in engine["containers"][0]["env"]}
    kept = dict(re.findall(r"(LLAMA_ARG_\w+)=(\S+)", image))
    assert kept == {"LLAMA_ARG_SWA_FULL": "1", "LLAMA_ARG_CACHE_RAM": "0"}
    assert kept.items() <= given.items()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_what_scales_and_what_is_spared_is_there(path: Path) -> None:
    workloads = {(found["kind"], found["metadata"]["name"]) for found in objects(path)}
    for scaler in of_kind(path, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in workloads
    chosen = {
        kind: [found["spec"]["selector"] for found in of_kind(path, kind)]
        for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget")
    }
    assert chosen["PodDisruptionBudget"]
    assert all(selector in chosen["PodDisruptionBudget"] for selector in chosen["Deployment"] + chosen["StatefulSet"])


def test_every_metric_that_is_asked_for_is_exposed() -> None:
    text = Service.of(Settings(engine="none")).metrics.text().decode()
    exposed = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    adapter = (DEPLOY / "prometheus-adapter.yaml").read_text("utf-8")
    named = {each["name"]["as"] for each in yaml.safe_load(adapter)["rules"]["external"] if "name" in each}
    dashboard = json.loads((DEPLOY / "chart" / "files" / "dashboard.json").read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [rule for path in MANIFESTS for found in of_kind(path, "PrometheusRule") for rule in rules_of(found)]
    asked += [rule["expr"] for rule in rules]
    scalers = [
        metric
        for path in MANIFESTS
        for found in of_kind(path, "HorizontalPodAutoscaler")
        for metric in found["spec"]["metrics"]
    ]
    asked += [metric[kind]["metric"]["name"] for metric in scalers for kind in ("pods", "external") if kind in metric]
    names = set(re.findall(r"\b(?:poem|process)_[a-z0-9_]+", "\n".join([*asked, adapter])))
    assert len(names) > 15
    assert {name.removesuffix("_bucket") for name in names - named} - exposed == set()
    assert len({rule["alert"] for rule in rules}) == 9


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_what_scrapes_asks_for_no_key_that_a_secret_may_lack(path: Path) -> None:
    """The operator knows no optional ones: it would scrape nothing, and the first alert be that nobody answers."""
    for monitor in of_kind(path, "ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            assert endpoint.keys() == {"port", "path", "interval"}


@needs_helm
def test_what_scrapes_sends_the_key_that_it_is_told_of() -> None:
    done = template("llama-server", "--set", "monitoring.apiKey=POEM_API_KEY")
    found = [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each["kind"] == "ServiceMonitor"]
    credentials = {"name": "mansion-poem", "key": "POEM_API_KEY"}
    assert [each["spec"]["endpoints"][0]["authorization"] for each in found] == [{"credentials": credentials}]


def rules_of(found: Object) -> list[Object]:
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def test_what_is_to_be_typed_goes_to_the_namespace() -> None:
    """Weights in another are out of the engines' reach."""
    typed = [
        block for block in re.findall(r"```sh\n(.*?)```", SCALE.read_text("utf-8"), re.DOTALL) if "kubectl" in block
    ]
    assert len(typed) == 2
    for block in typed:
        elsewhere = block.partition("kubectl config set-context --current --namespace mansion-poem\n")[0]
        for line in re.findall(r"^(?:kubectl|helm) (?!create namespace).*", elsewhere, re.MULTILINE):
            assert " -n mansion-poem " in line


def test_artifacts_are_moved_as_it_is_to_be_typed(tmp_path: Path) -> None:
    """In one shell, from the checkout's root; rsync and kubectl only look whether what they are to copy is there."""
    blocks = re.findall(r"```sh\n(.*?)```", SCALE.read_text("utf-8"), re.DOTALL)
    (typed,) = [block for block in blocks if "rsync" in block]
    (tmp_path / "artifacts" / "campaign").mkdir(parents=True)
    (tmp_path / "artifacts" / "campaign" / "weights").write_text("GGUF", "utf-8")
    shutil.copytree(DEPLOY / "jobs", tmp_path / "deploy" / "jobs")
    for name in ("rsync", "kubectl"):
        look = 'for given; do case "$given" in artifacts* | campaign* | deploy/*) ls -d "$given" || exit ;; esac done'
        (tmp_path / name).write_text(f"#!/bin/sh\n{look}\n", "utf-8")
        (tmp_path / name).chmod(0o755)
    sums = f"{sha256(b'GGUF').hexdigest()}  campaign/weights\n"
    script = typed.replace("DIGEST", sha256(sums.encode()).hexdigest())
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "artifacts" / "campaign.sha256").read_text("utf-8") == sums


@pytest.mark.parametrize(
    "path", [DEPLOY / "jobs" / "teacher.yaml", DEPLOY / "jobs" / "train.yaml"], ids=lambda path: path.stem
)
def test_a_jobs_command_is_one_that_is_there_and_its_folders_are_the_campaigns(path: Path) -> None:
    ((volumes, mounts, arguments),) = [
        (pod["spec"]["volumes"], container["volumeMounts"], container["args"])
        for pod in pods(path)
        for container in pod["spec"]["containers"]
    ]
    given = asked_of(arguments)
    assert (given["recipe"], given["out"]) == ("/recipes/campaign.toml", Path("artifacts/campaign"))
    where = {mount["name"]: mount["mountPath"] for mount in mounts}
    assert (where["recipes"], where["artifacts"]) == ("/recipes", "/mansion-poem/artifacts")
    held = {volume["name"]: volume for volume in volumes}
    ((recipes,), (claim,)) = (of_kind(CAMPAIGN, kind) for kind in ("ConfigMap", "PersistentVolumeClaim"))
    assert held["recipes"]["configMap"] == {"name": recipes["metadata"]["name"]}
    assert held["artifacts"]["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}


def test_the_training_job_learns_from_what_the_teachers_job_has_written() -> None:
    teacher, training = (
        asked_of(
            of_kind(DEPLOY / "jobs" / f"{name}.yaml", "Job")[0]["spec"]["template"]["spec"]["containers"][0]["args"]
        )
        for name in ("teacher", "train")
    )
    assert training["taught"] == teacher["out"] / POEMS


def asked_of(arguments: list[str]) -> dict[str, Any]:
    """What `poem-build` understands of a command line."""
    name, *more = arguments
    command: Any = cli.commands[name]
    if isinstance(command, click.Group):
        name, *more = more
        command = command.commands[name]
    return dict(command.make_context(name, more).params)


def test_the_recipe_of_the_campaign_is_one(tmp_path: Path) -> None:
    recipes = of_kind(CAMPAIGN, "ConfigMap")[0]["data"]
    (tmp_path / "campaign.toml").write_text(recipes["campaign.toml"], "utf-8")
    assert load_recipe(str(tmp_path / "campaign.toml")).name == "campaign"

"""What holds for the whole tree: who imports whom, and what importing costs."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from support.proxies import PROXIES

ROOT = Path(__file__).parents[1]
PACKAGES = {"poem": "game", "poem_build": "build", "poem_service": "service"}
MODULES = {package: sorted((ROOT / folder / package).rglob("*.py")) for package, folder in PACKAGES.items()}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_imports_run_from_build_and_service_to_the_game_and_no_other_way() -> None:
    allowed = {"poem": {"poem"}, "poem_build": {"poem", "poem_build"}, "poem_service": {"poem", "poem_service"}}
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for package, paths in MODULES.items()
        for path in paths
        for name in _imports(path) & PACKAGES.keys() - allowed[package]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("package", "extras"),
    [("poem_build", ["build", "gpu", "teacher"]), ("poem_service", ["service", "postgresql", "embedded"])],
)
def test_what_is_imported_is_declared(package: str, extras: list[str]) -> None:
    """In pyproject.toml, though something else that is installed may bring it along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    declared = {_normal(re.split(r"[^\w.-]", line)[0]) for extra in extras for line in project[extra]}
    brought = packages_distributions()
    foreign = {name for path in MODULES[package] for name in _imports(path)}
    foreign -= {*sys.stdlib_module_names, *PACKAGES, "unsloth"}  # which wants a transformers below ours
    # What is not installed here is looked for under its own name.
    assert {name for name in foreign if not declared & set(map(_normal, brought.get(name, [name])))} == set()


def _normal(distribution: str) -> str:
    return re.sub("[-_.]+", "-", distribution).lower()


def test_the_game_needs_the_standard_library_only() -> None:
    foreign = {name for path in MODULES["poem"] for name in _imports(path)} - set(sys.stdlib_module_names) - {"poem"}
    assert foreign == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports_without_the_heavy_libraries(package: str) -> None:
    names = [
        ".".join(path.relative_to(ROOT / PACKAGES[package]).with_suffix("").parts)
        for path in MODULES[package]
        if path.stem != "__main__"
    ]
    heavy = ["torch", "transformers", "peft", "unsloth", "llama_cpp", "numpy"]
    code = f"import importlib, sys; sys.modules.update(dict.fromkeys({heavy!r}))\n"
    code += f"for name in {names!r}: importlib.import_module(name)"
    env = os.environ | PROXIES  # nor may one build a client as it is imported: it would ask these
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr


def test_no_container_folder_is_a_package() -> None:
    assert not [folder for folder in PACKAGES.values() if (ROOT / folder / "__init__.py").exists()]


def test_the_wheel_holds_all_three_packages_and_their_files(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    expected = {
        str(path.relative_to(ROOT / folder))
        for package, folder in PACKAGES.items()
        for path in (ROOT / folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == expected

"""What lies in a bundle beside images and licences, and the folder as one .tar: no engine is needed for it.

The game and a table, a compose.yaml, scripts, settings and the page, SHA256SUMS.
"""

import json
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import poem
from poem.game import Game
from poem_build.data import table
from poem_build.recipe.names import tag
from poem_build.recipe.schema import Recipe
from poem_build.ship import containers, teaching
from poem_build.ship.containers import ROOT, Compose
from poem_build.store.digest import sha256
from poem_build.store.folder import write_text

SOURCE = ROOT / "docker" / "bundle"
BUILT_IN_GAME = Path(str(poem.__file__)).parent / "builtin"
OF_A_GAME = ("cards.json", "catchphrases.json", "system.txt", "terms.json", "values.json", "poems.jsonl", "sentences")
TABLE = Path("files") / "poems.sqlite"
SCRIPTS = ("start", "stop", "doctor", "scripts/common.sh")
PAGE = "最初に読む.html"
"""No letter that a Mac would write as two (NFD): SHA256SUMS finds the files by their names, wherever they have been."""
GPU_KEYS = {"deploy", "environment"}
"""What of the override for NVIDIA concerns a stand; the rest is about building."""
MIB = 2**20


@dataclass(frozen=True)
class Part:
    """A compose service and the image it runs."""

    name: str
    image: str
    digest: str
    layers: str
    platform: str
    created: datetime
    bytes: int
    memory: int
    labels: dict[str, str]

    @property
    def packed_image(self) -> str:
        """The image's name in the bundle: no other image, and no other build of this one, is called so."""
        return f"{self.image}-{self.digest.removeprefix('sha256:')[:12]}"

    @property
    def variable(self) -> str:
        """The name in .env of what it runs."""
        return f"{self.name.upper().replace('-', '_')}_IMAGE"


@dataclass(frozen=True)
class Contents:
    """What a bundle is of: a recipe's model, and a game with the folder that it was read from."""

    recipe: Recipe
    game: Game
    folder: Path

    @property
    def tag(self) -> str:
        """What stands behind the colon of the model's image."""
        return tag(self.recipe.name, self.game.name)


def write_files(folder: Path, contents: Contents, hands: int) -> None:
    """What a stand may change: the game's folder, and the table in it."""
    files = folder / "files"
    files.mkdir()
    for name in OF_A_GAME:
        source = contents.folder / name
        if source.is_dir():
            shutil.copytree(source, files / name)
        elif source.is_file():
            shutil.copyfile(source, files / name)
    written = ROOT / teaching.room(contents.tag) / teaching.TABLE
    table.build_for_stand(contents.game, folder / TABLE, hands, 0, written if written.is_file() else None)


def write_compose(folder: Path, found: list[Part], contents: Contents, compose: Compose) -> None:
    """compose.yaml, flat: without build sections, with the bundle's own images and files; and NVIDIA's override."""
    cpu = Compose("", "embedded" if compose.holder == "service" else "", compose.env)
    every = cpu.ask("--profile", "*", "config", "--services").split()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as override:
        taught = table.taught(contents.game, folder / TABLE)
        others = sorted(set(every) - {part.name for part in found})
        override.write(_override(found, others, taught=taught))
        override.flush()
        cpu.files += ["-f", override.name]
        text = cpu.ask("config", "--no-interpolate", "--no-path-resolution")
    (folder / "compose.yaml").write_text(f"# Made by `make bundle`; settings are in .env.\n{text}\n", "utf-8")
    if cpu.holder != "service":
        nvidia = ("compose", "-f", containers.OVERRIDES["nvidia"], "config", "--no-consistency", "--no-interpolate")
        services = json.loads(containers.ask(*nvidia, "--format", "json"))["services"]
        wanted = {
            part.name: {key: services[part.name][key] for key in GPU_KEYS & services[part.name].keys()}
            for part in found
        }
        text = json.dumps({"services": wanted}, indent=2, sort_keys=True)  # JSON is YAML
        (folder / "compose.nvidia.yaml").write_text(f"{text}\n", "utf-8")


def _override(found: list[Part], others: list[str], *, taught: bool) -> str:
    lines = [
        "x-hardened: !reset null",
        "x-mansion-poem: !reset null",
        "services:",
        *(f"  {name}: !reset null" for name in others),
    ]
    for part in found:
        lines += [
            f"  {part.name}:",
            f"    image: ${{{part.variable}:?is not in .env; take .env from the bundle again}}",
        ]
        lines += ["    build: !reset null", "    pull_policy: never"]
        if part.name == "service":
            lines += ["    volumes: !override", "      - ./files:/files:ro", "      - log:/data"]
            lines += ["    environment:", "      POEM_WRITER: ${POEM_WRITER:-table}"] if taught else []
    return "\n".join(lines) + "\n"


def write_texts(folder: Path, found: list[Part], contents: Contents, compose: Compose) -> None:
    """Scripts, .env and the page."""
    memory = next(part.memory for part in found if part.name == compose.holder)
    facts = {
        "folder": folder.name,
        "recipe": contents.recipe.name,
        "game_name": contents.game.name,
        "version": metadata.version("mansion-poem"),
        "platform": found[0].platform,
        "embedded": compose.holder == "service",
        "nvidia": (folder / "compose.nvidia.yaml").is_file(),
        "taught": table.taught(contents.game, folder / TABLE),
        "gpu": "nvidia" if containers.OVERRIDES["nvidia"] in compose.files else "",
        "model_memory": f"{memory // MIB}m",
        "parts": found,
        "needed_disk": sum(part.bytes for part in found) // MIB,
        "needed_memory": sum(part.memory for part in found) // MIB,
    }
    templates = Environment(
        loader=FileSystemLoader(SOURCE), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    (folder / ".env").write_text(templates.get_template("env.jinja").render(facts), "utf-8")
    (folder / PAGE).write_text(templates.get_template("page.html.jinja").render(facts), "utf-8")
    for name in SCRIPTS:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(SOURCE / name, folder / name)
    cmd = (SOURCE / "start.cmd").read_text("utf-8")
    (folder / "start.cmd").write_text(cmd, "utf-8", newline="\r\n")


def write_sums(folder: Path) -> None:
    """SHA256SUMS; the last line counts the others, so that a cut one is seen."""
    sums = folder / "SHA256SUMS"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path != sums)
    lines = [f"{sha256(folder / name)}  {name}\n" for name in names]
    sums.write_text("".join([*lines, f"# {len(lines)} files\n"]), "utf-8")


def write_tar(folder: Path, target: Path, time: datetime) -> None:
    """The folder as one archive without owners or times of its own, and its checksum beside it."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = int(time.timestamp())
        entry.mode = 0o755 if entry.isdir() or Path(entry.name).name in SCRIPTS else 0o644
        return entry

    beside = target.with_name(f".{target.name}.part")
    try:
        with tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(folder, folder.name, recursive=False, filter=plain)
            # the small files first: whoever copies a cut file still reads what to do
            for path in sorted(folder.rglob("*"), key=lambda path: ("images" in path.parts, str(path))):
                tar.add(path, str(path.relative_to(folder.parent)), recursive=False, filter=plain)
        sum_line = f"{sha256(beside)}  {target.name}\n"
        beside.replace(target)
        write_text(target.with_name(f"{target.name}.sha256"), sum_line)
    finally:
        beside.unlink(missing_ok=True)

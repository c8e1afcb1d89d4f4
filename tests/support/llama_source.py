"""The pinned source distribution of llama-cpp-python → the vocabularies and chat templates that llama.cpp carries."""

import tarfile
import tempfile
from pathlib import Path

from poem_build.models import converter

FOLDER = converter.FOLDER.with_name(f"{converter.FOLDER.name}-models")
_INSIDE = "/vendor/llama.cpp/models/"


def models() -> Path:
    """Its folder `models`, fetched and unpacked at the first call."""
    if not FOLDER.is_dir():
        with tempfile.TemporaryDirectory(dir=FOLDER.parent) as work:
            with tarfile.open(converter.download(Path(work))) as tar:
                for member in tar:
                    name = member.name.partition(_INSIDE)[2]
                    if name.endswith((".gguf", ".jinja")) and (content := tar.extractfile(member)):
                        (Path(work) / "models" / name).parent.mkdir(parents=True, exist_ok=True)
                        (Path(work) / "models" / name).write_bytes(content.read())
            (Path(work) / "models").rename(FOLDER)
    return FOLDER

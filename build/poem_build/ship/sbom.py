"""An image → its bill of materials as CycloneDX JSON: what Syft finds in it, and the model.

`make sbom` writes one for each image of the stack.
"""

import argparse
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from poem.errors import PoemError
from poem_build.errors import BuildError, StackError
from poem_build.recipe.names import ollama_model
from poem_build.ship import containers
from poem_build.ship.containers import ROOT, Compose
from poem_build.ship.stack import chosen
from poem_build.store.folder import write_text

FOLDER = ROOT / "artifacts" / "sbom"


def write(image: str, folder: Path) -> Path:
    """Write the image's bill into the folder and return its path; raises `StackError` if it cannot be made."""
    found = containers.image(image)
    if found is None:
        raise StackError(f"{image}: there is no such image; `make image` or `make up` builds it")
    syft = Path(sys.executable).parent / "syft"
    if not syft.is_file():
        raise StackError(f"{syft}: not there; run `make setup`")
    command = [str(syft), "--quiet", "--output", "cyclonedx-json", f"docker:{image}"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"SYFT_CHECK_FOR_APP_UPDATE": "false"}
    )
    if done.returncode:
        raise StackError(f"{image}: syft: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    bill = json.loads(done.stdout)
    bill["components"] += _model(found["Config"].get("Labels") or {})
    bill = repeatable(bill, found["Created"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image.replace(':', '-').replace('/', '-')}.cdx.json"
    write_text(path, json.dumps(bill, ensure_ascii=False, indent=1) + "\n")
    return path


def repeatable(bill: dict[str, Any], created: str) -> dict[str, Any]:
    """The bill as every run writes it of the same image: with the image's time, and a serial made of its content."""
    content = {key: value for key, value in bill.items() if key != "serialNumber"}
    content["metadata"] = {**bill["metadata"], "timestamp": created}
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True)).urn
    return {key: serial if key == "serialNumber" else content[key] for key in bill}


def _model(labels: dict[str, str]) -> list[dict[str, Any]]:
    """The model as a component, from what the image's labels say of it."""
    if not labels.get("mansion-poem.recipe"):
        return []
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "name": ollama_model(labels["mansion-poem.recipe"], labels.get("mansion-poem.game", "")),
        "licenses": [{"license": {"name": labels["mansion-poem.licence"]}}],
    }
    if labels.get("mansion-poem.gguf"):
        model["hashes"] = [{"alg": "SHA-256", "content": labels["mansion-poem.gguf"]}]
    return [model]


def main() -> None:
    """Write the bills of a stack's images."""
    parser = argparse.ArgumentParser(prog="sbom", description=__doc__)
    parser.add_argument("--recipe")
    parser.add_argument("--game", type=Path)
    parser.add_argument("--gpu", default="")
    parser.add_argument("--stack", default="")
    given = parser.parse_args()
    try:
        containers.check_engine()
        choice = chosen(given.recipe, given.game, given.gpu, given.stack)
        config = Compose(given.gpu, given.stack, choice.env).config()
        for service in config["services"].values():
            sys.stdout.write(f"{write(service['image'], FOLDER).relative_to(ROOT)}\n")
    except (BuildError, PoemError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()

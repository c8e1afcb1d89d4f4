"""A model that is finished → a folder as a model hub has it, with card and licence, and the same at the hub."""

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from poem.environment import meant
from poem_build.errors import PublishError
from poem_build.export.modelfile import MODELFILE
from poem_build.models import licence
from poem_build.models.files import CARD
from poem_build.recipe.schema import HUB_ID, Recipe
from poem_build.store.folder import link

FOLDER = "hub"
TOKEN = "HF_TOKEN"
ADDRESS = "HF_ENDPOINT"
_OURS = Path(__file__).resolve().parents[3] / "LICENSE"
"""Of our own texts and of the base that is made of them."""


def lay_out(recipe: Recipe, files: Iterable[Path], modelfile: Path, merged: Path, card: str, target: Path) -> Path:
    """Write the folder: the GGUF files, the Modelfile that names them, the licence's texts, the card.

    Raises `PublishError` if there is no text of the licence to go with it.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in files:
        link(path, target / path.name)
    text = (modelfile / MODELFILE).read_text("utf-8").replace(" ./gguf/", " ./")
    (target / MODELFILE).write_text(text, "utf-8")
    for name in terms_of(recipe, merged):
        shutil.copy(_OURS if name == _OURS.name and not (merged / name).is_file() else merged / name, target / name)
    (target / CARD).write_text(card, "utf-8")
    return target


def terms_of(recipe: Recipe, merged: Path) -> list[str]:
    """The names of the licence's texts. Raises `PublishError` if there are none."""
    if found := list(licence.texts_in(merged)):
        return found
    if recipe.pretrain and recipe.licence == "MIT":
        return [_OURS.name]
    raise PublishError(
        f"{merged}: there is no text of its licence, {recipe.licence}, which has to go where the model goes; put it "
        "there as LICENSE"
    )


def upload(folder: Path, name: str, environ: Mapping[str, str], *, public: bool) -> str:
    """Put the folder at the hub of `HF_ENDPOINT`, as a model that only its owner sees unless `public`; its address.

    The key is read from `HF_TOKEN` and kept nowhere. Raises `PublishError` for a model that everybody sees there
    already and should not, and for whatever goes wrong.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    check_name(name)
    token = meant(environ.get(TOKEN, ""))
    if not token:
        raise PublishError(f"{TOKEN}: not set; export a key of the hub that may write, it is written nowhere")
    api = HfApi(endpoint=meant(environ.get(ADDRESS, "")) or None, token=token)
    try:
        api.create_repo(name, private=not public, exist_ok=True)
        private = api.model_info(name).private  # of one that was there already, that is as it was
        if private and public:
            api.update_repo_settings(name, private=False)
        if not private and not public:
            raise PublishError(f"{api.endpoint}: {name}: is there for everybody to see; give --public or another name")
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message="The model as it was built")
    except (OSError, httpx2.HTTPError, HfHubHTTPError, HFValidationError, RuntimeError) as error:
        said = getattr(error, "server_message", None) or str(error).strip() or type(error).__name__
        told = str(said).splitlines()[0].replace(token, "…")
        raise PublishError(f"{api.endpoint}: {name}: {told}; run it again, what has arrived is kept there") from error
    return str(done.commit_url)


def check_name(name: str) -> None:
    """Raises `PublishError` for what is no model's id."""
    if not re.match(HUB_ID, name):
        raise PublishError(f"{name}: no id of the hub; give owner/name")

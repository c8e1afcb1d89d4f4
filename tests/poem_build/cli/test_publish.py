"""`poem-build publish`: what goes to a hub and a registry, and what may not go at all."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from huggingface_hub import constants

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.cli.main import cli
from poem_build.errors import PublishError
from poem_build.export.parity import Parity
from poem_build.models.files import SERVED
from poem_build.models.standing import Standing, write_standing
from poem_build.plan.licence import Verdict
from poem_build.recipe.schema import Recipe
from poem_build.ship.allowed import refuse_name, refuse_unshippable
from poem_build.ship.hub import upload
from poem_build.ship.register import RegisterReport
from poem_build.store.artifact import Artifact, Report
from poem_build.store.stage import Job
from poem_build.store.workshop import Workshop
from support.hub_taking import TOKEN, Taken, taking
from support.registry import PART, Pushing, pushing


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    """The hub, and files in one piece each: what the variable of its client's says of that is read at import."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with taking() as state:
        yield state


@pytest.fixture
def finished(chain: dict[str, Artifact], out: Path, tmp_path: Path) -> Path:
    """A copy of the finished chain, whose verdict is a test's own."""
    shutil.copytree(out, tmp_path / "out")
    return tmp_path / "out"


def _publish(recipe_file: Path, out: Path, *args: str, **environ: str) -> Result:
    runner = CliRunner(env={"HF_TOKEN": "", "HF_ENDPOINT": ""} | environ)
    return runner.invoke(cli, ["publish", *args, "--recipe", str(recipe_file), "--out", str(out)])


def test_a_model_goes_to_the_hub_with_its_card_and_its_licence(
    there: Taken, finished: Path, recipe_file: Path, chain: dict[str, Artifact]
) -> None:
    keys = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": there.url}
    done = _publish(recipe_file, finished, "me/our-poems", "--json", **keys)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["to"], told["name"], told["url"]) == ("hub", "me/our-poems", f"{there.url}/me/x/commit/1")
    assert there.repositories == {"me/our-poems": True}
    assert set(there.files) == {"README.md", "LICENSE", "Modelfile", SERVED}
    assert there.files[SERVED] == (finished / "gguf" / SERVED).read_bytes()
    assert there.files["LICENSE"].startswith(b"MIT License")
    assert f"FROM ./{SERVED}\n".encode() in there.files["Modelfile"]
    card = there.files["README.md"].decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head == {
        **{"language": "ja", "license": "mit", "pipeline_tag": "text-generation"},
        "tags": ["gguf", "mansion-poem", "poetry"],
    }
    assert f"| `{SERVED}` | SHA-256 `{chain['gguf'].files[SERVED]}` |" in card
    assert f"the built-in one, deck `{builtin_game().deck.digest}`" in card
    assert "KL divergence 0." in card
    assert TOKEN not in done.output + card
    assert str(finished) not in card


def test_without_sending_the_folder_is_there_to_be_read(finished: Path, recipe_file: Path) -> None:
    done = _publish(recipe_file, finished, "me/our-poems", "--dry-run")
    assert (done.exit_code, done.output.count("\n")) == (0, 1)
    assert (finished / "hub" / SERVED).samefile(finished / "gguf" / SERVED)


def test_who_sees_a_model_is_what_this_call_says_and_no_earlier_one(there: Taken, tmp_path: Path) -> None:
    keys, card = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": there.url}, tmp_path / "README.md"
    card.write_text("first", "utf-8")
    upload(tmp_path, "me/ours", keys, public=False)
    upload(tmp_path, "me/open", keys, public=True)
    assert there.repositories == {"me/ours": True, "me/open": False}
    upload(tmp_path, "me/ours", keys, public=False)
    assert there.repositories["me/ours"]
    upload(tmp_path, "me/ours", keys, public=True)
    assert not there.repositories["me/ours"]
    card.write_text("for us alone", "utf-8")
    with pytest.raises(PublishError, match=r"^http://\S+: me/ours: is there for everybody to see; give --public or an"):
        upload(tmp_path, "me/ours", keys, public=False)
    assert there.files == {"README.md": b"first"}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("me/our-poems",), "HF_TOKEN: not set; export a key of the hub"),
        (("ours",), "ours: no id of the hub; give owner/name"),
        (("ours", "--to", "ollama"), "ours: whose is it? Give owner/name, as at ollama.com"),
        (("me/ours", "--to", "openai"), "--model: which model is to be tuned?"),
        (("me/ours", "--to", "openai", "--model", "m"), "OPENAI_API_KEY: not set"),
    ],
)
def test_what_is_missing_is_told_in_one_line(
    finished: Path, recipe_file: Path, args: tuple[str, ...], why: str
) -> None:
    with pushing("mansion-poem:mini") as there:
        done = _publish(recipe_file, finished, *args, "--ollama", there.url, OPENAI_API_KEY="")
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {why}")
    assert done.output.count("\n") == 1


def _register(recipe: Recipe, out: Path, there: Pushing) -> None:
    """As if this build's model were what that server holds."""
    (stage, _) = pipeline.of_ollama(there.url, there.model, out, out / "ollama.log", None)

    @wraps(stage.work)  # an artifact is known by the module that made it
    def work(_: Job) -> Report:
        counts = Parity(texts=0, different=[])
        model, digest = there.model, there.digest
        return RegisterReport(model=model, digest=digest, token_counts=counts, standing=Standing(), answer_tries=1)

    stages = [*pipeline.stages(recipe), replace(stage, work=work)]
    pipeline.make(Workshop(recipe, builtin_game(), out, stages), "register")


def test_ollama_pushes_it_and_what_goes_wrong_is_quoted(finished: Path, recipe_file: Path, recipe: Recipe) -> None:
    with pushing("mansion-poem:mini") as there:
        _register(recipe, finished, there)
        done = _publish(recipe_file, finished, "me/poems", "--to", "ollama", "--ollama", there.url)
        assert done.output == "publish: to ollama, name me/poems, model mansion-poem:mini, digest 0123456789ab\n"
        assert there.copied == [("mansion-poem:mini", "me/poems:latest")]
        assert there.pushed == [{"model": "me/poems:latest", "insecure": False, "stream": True}]
        there.lines = [{"status": f"pushing {PART}"}, {"error": "you are not authorized to push to this namespace"}]
        done = _publish(recipe_file, finished, "me/poems:v2", "--to", "ollama", "--ollama", there.url)
        assert done.output.endswith("/api/push: me/poems:v2: you are not authorized to push to this namespace\n")
        there.lines = [{"status": "pushing manifest"}]
        done = _publish(recipe_file, finished, "me/poems", "--to", "ollama", "--ollama", there.url)
        assert "ended with 'pushing manifest', no success" in done.output


def test_a_model_that_another_build_has_registered_is_not_pushed_on_the_word_of_this_one_s_gates(
    finished: Path, recipe_file: Path, recipe: Recipe
) -> None:
    with pushing("mansion-poem:mini") as there:
        options = ("me/poems", "--to", "ollama", "--ollama", there.url)
        unknown = _publish(recipe_file, finished, *options)
        _register(recipe, finished, there)
        there.digest = "another build's"
        replaced = _publish(recipe_file, finished, *options)
        there.model = "mansion-poem:another"
        removed = _publish(recipe_file, finished, *options)
        assert (there.copied, there.pushed) == ([], [])
    assert unknown.output.startswith(f"Error: {finished}/register: register: ")
    told = "mansion-poem:mini is not the one that was registered; `poem-build register` it"
    assert replaced.output == removed.output == f"Error: OLLAMA_HOST {there.url}: {told}\n"


def test_what_its_gates_refuse_goes_nowhere_unless_forced(finished: Path, recipe_file: Path, recipe: Recipe) -> None:
    manifest = finished / "verify" / "artifact.json"
    told = json.loads(manifest.read_text("utf-8"))
    told["report"]["score"] = {"hands": 2, "passed": 0, "malformed": 2, "broken": {"malformed": 2}}
    manifest.write_text(json.dumps(told), "utf-8")
    for to in ("hub", "ollama"):
        done = _publish(recipe_file, finished, "me/poems", "--to", to)
        assert (done.exit_code, done.output.count("\n")) == (1, 1)
        assert "gate.smoke_hands: answers in no shape: 2" in done.output
    write_standing(finished / "gguf", Standing())
    done = _publish(recipe_file, finished, "me/poems", "--dry-run", "--force")
    assert done.exit_code == 0, done.output
    card = (finished / "hub" / "README.md").read_text("utf-8")
    assert "Let through all the same: verify: gate.smoke_hands: answers in no shape: 2" in card


def test_a_licence_decides_what_may_go_out_and_under_which_name() -> None:
    free, research = (
        Verdict("base", name, ship, "no", "") for name, ship in (("MIT", "yes"), ("R", "for research only"))
    )
    never = Verdict("base", "N", "no", "no", "")
    refuse_unshippable([free], force=False)
    refuse_unshippable([free, research], force=True)
    with pytest.raises(PublishError, match=r"base: R: may it be passed on\? for research only; .* give --force"):
        refuse_unshippable([free, research], force=False)
    with pytest.raises(PublishError, match="base: N: may not be passed on: no"):
        refuse_unshippable([never], force=True)
    llama = Verdict("base", "Llama 3.1", "yes", "yes", "", prefix="Llama")
    refuse_name([free, llama], "me/llama-poems")
    with pytest.raises(PublishError, match=r"me/poems: Llama 3\.1 asks for a name that begins with 'Llama'"):
        refuse_name([llama], "me/poems")


@pytest.mark.parametrize("to", ["hub", "ollama", "openai"])
def test_what_learnt_from_a_teacher_with_terms_of_its_own_stays_unless_forced(tmp_path: Path, to: str) -> None:
    (tmp_path / "teacher.json").write_text('{"teacher": "composer+gemini"}', "utf-8")
    args = ["publish", "me/poems", "--to", to, "--out", str(tmp_path), "--taught", str(tmp_path), "--dry-run"]
    stays, forced = (CliRunner().invoke(cli, [*args, *more]) for more in ([], ["--force"]))
    assert stays.output.startswith("Error: teacher: gemini: may it be passed on? unknown: its terms forbid models")
    assert "teacher: gemini" not in forced.output


def test_a_model_whose_licence_has_no_text_stays_until_one_lies_beside_it(
    finished: Path, recipe: Recipe, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    text = (recipe.base.path or Path()).parent.joinpath("mini.toml").read_text("utf-8")
    other.write_text(text.replace('licence = "MIT"', 'licence = "Apache-2.0"'), "utf-8")
    stages = ["--recipe", str(other), "--out", str(finished)]
    assert CliRunner().invoke(cli, ["modelfile", *stages]).exit_code == 0
    done = _publish(other, finished, "me/poems", "--dry-run", "--force")
    told = f"{finished / 'merged'}: there is no text of its licence, Apache-2.0, which has to go where the model goes; "
    assert done.output == f"Error: {told}put it there as LICENSE\n"
    (finished / "merged" / "LICENSE").write_text("the terms", "utf-8")
    why = CliRunner().invoke(cli, ["run", "--why", *stages]).output.splitlines()
    assert [line for line in why if not line.endswith(": kept")] == []
    done = _publish(other, finished, "me/poems", "--dry-run", "--force")
    assert done.exit_code == 0, done.output
    assert (finished / "hub" / "LICENSE").read_text("utf-8") == "the terms"

"""A chain of the real stages at their smallest: a base of one layer, a few dozen examples."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.engine.ollama import running_server
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.store.artifact import Artifact
from poem_build.store.workshop import Workshop
from poem_build.train import pretrain
from support import gemini_stand_in
from support.chain import workshop_of
from support.process import free_port

MINI = """
name = "mini"
summary = "the chain at its smallest"
licence = "MIT"
params = "2M"
status = "written"
[base]
path = "{base}"
family = "chatml"
[pretrain]
vocab_size = 1024
hidden_size = 256
intermediate_size = 256
layers = 1
heads = 4
kv_heads = 2
context = 3072
[[pretrain.phases]]
text = "poems"
documents = 340
batch = 4
learning_rate = 3e-3
[[pretrain.phases]]
text = "lists"
documents = 60
batch = 4
learning_rate = 1e-3
[dataset]
train = 24
valid = 4
test = 6
[train]
r = 8
lora_alpha = 16
learning_rate = 1e-2
epochs = 1
batch = 8
dtype = "float32"
new_tokens = ["<|im_end|>", '{{"title":"']
[serve]
num_ctx = 3072
num_predict = 1000
temperature = 0.7
top_p = 0.95
top_k = 40
min_p = 0.02
repeat_penalty = 1.1
[gate]
token_parity_texts = 50
smoke_hands = 2
smoke_pass = 0.0
eval_hands = 2
eval_pass = 0.0
base_pass_at_most = 0.1
whole_sentences = 0.0
"""

DEMO = Path(__file__).parents[2] / "artifacts" / "tiny"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chain")


@pytest.fixture(scope="session")
def recipe_file(home: Path) -> Path:
    path = home / "mini.toml"
    path.write_text(MINI.format(base=home / "base-installed"), "utf-8")
    return path


@pytest.fixture(scope="session")
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(str(recipe_file))


@pytest.fixture(scope="session")
def out(home: Path, recipe: Recipe) -> Path:
    """The folder of a base and a data set; the rest is made by `chain`."""
    pretrain.run(recipe, home / "mini")
    pipeline.make(workshop_of(recipe, home / "mini"), "dataset")
    return home / "mini"


@pytest.fixture(scope="session")
def workshop(recipe: Recipe, out: Path) -> Workshop:
    return workshop_of(recipe, out)


@pytest.fixture(scope="session")
def chain(workshop: Workshop) -> dict[str, Artifact]:
    """Every stage's artifact, by what it is called."""
    return {made.path.name: made for made in pipeline.run_all(workshop)}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real `tiny`, for long tests; what `make demo` left and has not changed is not made again."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    if DEMO.is_dir():
        shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("eval", "history", "lm-eval", "readings.jsonl"))
    for _ in pipeline.run_all(workshop_of(load_recipe("tiny"), folder)):
        pass
    return folder


@pytest.fixture(scope="session")
def ollama_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ollama") / "ollama.log"


@pytest.fixture(scope="session")
def ollama(ollama_log: Path) -> Iterator[str]:
    """A server of our own on a store of its own, if the program is there."""
    if shutil.which("ollama") is None:
        pytest.skip("no `ollama` on PATH: nothing is tested against a real one")
    patch = pytest.MonkeyPatch()
    patch.setenv("OLLAMA_MODELS", str(ollama_log.parent / "models"))
    host = f"http://127.0.0.1:{free_port()}"
    with running_server(host, ollama_log) as there:
        assert there, ollama_log.read_text("utf-8")
        yield host
    patch.undo()


@pytest.fixture
def gemini() -> Iterator[gemini_stand_in.GeminiStandIn]:
    """A teacher who writes poems for the built-in game."""
    with gemini_stand_in.gemini(gemini_stand_in.poet(builtin_game())) as there:
        yield there

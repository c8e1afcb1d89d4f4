"""A data set at a service that tunes: uploaded, started once, followed, named; keys stay where they are."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from poem_build.client import Credentials
from poem_build.data.chats import ROLES, write_chats
from poem_build.errors import DatasetError, PublishError
from poem_build.ship.openai import OpenAITuning
from poem_build.ship.tuning import Service, tune
from poem_build.ship.vertex import VertexTuning
from support.tuning_stand_in import KEY, VERTEX, Tuner, tuner

CHATS = [[{"role": role, "content": f"{role} {n} 家"} for role in ROLES] for n in range(12)]
OPENAI, GOOGLE = "openai", "vertex"


@pytest.fixture
def there() -> Iterator[Tuner]:
    with tuner() as state:
        yield state


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    write_chats(folder / "train.jsonl", CHATS)
    write_chats(folder / "valid.jsonl", CHATS[:2])
    return folder


def _service(name: str, there: Tuner, key: str = KEY) -> Service:
    if name == OPENAI:
        return OpenAITuning(Credentials(f"{there.url}/v1", key))
    environ = {"GOOGLE_OAUTH_ACCESS_TOKEN": key, "GOOGLE_CLOUD_PROJECT": "a-project"}
    environ |= {"GOOGLE_VERTEX_BASE_URL": there.url, "STORAGE_EMULATOR_HOST": there.url}
    return VertexTuning(environ, "gs://a-bucket/poems")


def _tuned(service: Service, dataset: Path, model: str = "a-model") -> tuple[str, str, bool]:
    found = tune(service, dataset, dataset.parent / "tuning", model, "our poems", every_s=0)
    return found.job, found.model, found.resumed


def test_openai_tunes_on_the_data_set_and_its_own_client_sees_the_same(there: Tuner, dataset: Path) -> None:
    assert _tuned(_service(OPENAI, there), dataset) == ("ftjob-1", "ft:a-model:our poems", False)
    asked = there.jobs["ftjob-1"]
    assert (asked["model"], asked["suffix"]) == ("a-model", "our poems")
    sent = [json.loads(line) for line in there.files[asked["training_file"]].splitlines()]
    assert sent == [{"messages": chat} for chat in CHATS]
    assert len(there.files[asked["validation_file"]].splitlines()) == 2
    with openai.OpenAI(base_url=f"{there.url}/v1", api_key=KEY) as client:
        assert client.fine_tuning.jobs.retrieve("ftjob-1").fine_tuned_model == "ft:a-model:our poems"


def test_vertex_reads_it_from_the_bucket(there: Tuner, dataset: Path) -> None:
    job, model, _ = _tuned(_service(GOOGLE, there), dataset)
    assert (job, model) == (f"{VERTEX.removeprefix('/v1beta1/')}/1", "projects/1/locations/us-central1/endpoints/8")
    asked = there.jobs[job]
    assert (asked["baseModel"], asked["tunedModelDisplayName"]) == ("a-model", "our poems")
    spec = asked["supervisedTuningSpec"]
    assert spec["trainingDatasetUri"].startswith("gs://a-bucket/poems/mansion-poem/")
    first = json.loads(there.files[spec["trainingDatasetUri"]].splitlines()[0])
    assert first["systemInstruction"]["parts"] == [{"text": "system 0 家"}]
    assert len(there.files[spec["validationDatasetUri"]].splitlines()) == 2


@pytest.mark.parametrize("name", [OPENAI, GOOGLE])
def test_a_job_that_was_started_is_followed_and_not_paid_for_again(there: Tuner, dataset: Path, name: str) -> None:
    first = _tuned(_service(name, there), dataset)
    assert _tuned(_service(name, there), dataset) == (*first[:2], True)
    assert len(there.jobs) == 1
    assert not _tuned(_service(name, there), dataset, "another-model")[2]
    write_chats(dataset / "train.jsonl", CHATS[1:])
    assert not _tuned(_service(name, there), dataset)[2]
    assert len(there.jobs) == 3


@pytest.mark.parametrize("name", [OPENAI, GOOGLE])
def test_a_job_that_fails_says_why_and_is_forgotten(there: Tuner, dataset: Path, name: str) -> None:
    there.fails = "the file has 3 bad lines"
    with pytest.raises(PublishError, match=rf"{name}: .+: failed: the file has 3 bad lines; mend that"):
        _tuned(_service(name, there), dataset)
    there.fails, there.looks = "", 0
    assert not _tuned(_service(name, there), dataset)[2]


def test_a_key_that_the_line_would_end_in_is_not_shown_in_part(there: Tuner, dataset: Path) -> None:
    wrong = "w" * 190
    with pytest.raises(PublishError, match=r"Incorrect API key: Bearer …; check") as caught:
        _tuned(_service(OPENAI, there, wrong), dataset)
    assert "www" not in str(caught.value)


@pytest.mark.parametrize("name", [OPENAI, GOOGLE])
def test_a_key_that_is_refused_is_not_shown_and_stands_in_no_file(there: Tuner, dataset: Path, name: str) -> None:
    wrong = "another-key-9876543210"
    with pytest.raises(PublishError) as caught:
        _tuned(_service(name, there, wrong), dataset)
    assert "status 401" in str(caught.value)
    assert wrong not in str(caught.value)
    _tuned(_service(name, there), dataset)
    texts = [path.read_text("utf-8") for path in dataset.parent.rglob("*") if path.is_file()]
    assert [text for text in texts if KEY in text or wrong in text] == []


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: VertexTuning({}, "gs://b"), "GOOGLE_CLOUD_PROJECT: not set"),
        (lambda: VertexTuning({"GOOGLE_CLOUD_PROJECT": "p"}, ""), "--bucket: vertex reads its data set"),
        (lambda: OpenAITuning(Credentials("http://127.0.0.1:9", "k")).look("j"), "ConnectErr"),
    ],
)
def test_what_is_missing_is_named(make: Callable[[], object], why: str) -> None:
    with pytest.raises(PublishError, match=why):
        make()


def test_too_few_examples_are_refused_before_anything_is_sent(there: Tuner, dataset: Path) -> None:
    write_chats(dataset / "train.jsonl", CHATS[:9])
    with pytest.raises(DatasetError, match="OpenAI's tuning takes 10 examples or more, got 9"):
        _tuned(_service(OPENAI, there), dataset)
    assert there.files == {}

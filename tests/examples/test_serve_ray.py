"""The example for Ray Serve answers on a real cluster of this machine as the one for FastAPI does."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.kit.browsers import free_port
from tests.kit.clusters import ON_A_CLUSTER, ray_cluster

import lignite
from lignite.zoo import bundled

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")
serve = pytest.importorskip("ray.serve", reason="ray and what its Serve needs are not installed")

pytestmark = ON_A_CLUSTER

TEXT = "The plot was thin, but the acting was superb."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that can be taken away."""
    return shutil.copytree(bundled()["tiny-sentiment"], tmp_path_factory.mktemp("models") / "it")


@pytest.fixture(scope="module")
def client(folder):
    """The example as it stands, on a port of its own; workers have the environment that the cluster begins in."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LIGNITE_MODEL", str(folder))
        with ray_cluster():
            from examples.serve_ray import app

            port = free_port()
            serve.start(http_options={"port": port})
            serve.run(app)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                yield client
            serve.shutdown()


def ask(client, **question):
    return client.post("/explain", json={"text": TEXT, **question})


def test_an_answer_holds_the_prediction_and_the_numbers_of_explain(client, folder):
    """And the model is loaded once: its files may go."""
    first = ask(client, target="negative", method="gradient-x-input")
    shutil.rmtree(folder)
    said = ask(client, target="negative", method="gradient-x-input").json()

    why = lignite.explain(lignite.load("tiny-sentiment"), TEXT, target="negative", method="gradient-x-input")
    assert said == first.json()
    assert (said["prediction"], said["explained"]) == (why.prediction, "negative")
    assert [token["relevance"] for token in said["tokens"]] == pytest.approx(why.relevance.values.tolist(), rel=1e-4)


def test_what_cannot_be_answered_is_one_message(client):
    """As from the service without a cluster."""
    answer = ask(client, target="dull")

    assert answer.status_code == 422
    assert "'dull' is none of this model's classes" in answer.json()["error"]


def test_only_so_many_questions_wait(client):
    """Two are with the model and eight wait; whoever comes then is sent away at once, and all others are answered."""
    long = {"text": "A superb film. " * 30, "method": "relevance-flow"}

    with ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(lambda _: ask(client, **long).status_code, range(16)))

    assert set(answers) == {200, 503}
    assert answers.count(200) >= 10

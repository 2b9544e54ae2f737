"""The examples of services answer real HTTP requests as their document says."""

import asyncio
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from tests.kit.browsers import free_port

import lignite

pytest.importorskip("fastapi", reason="fastapi is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from examples import serve  # noqa: E402  (needs fastapi)

TEXT = "The plot was thin, but the acting was superb."


@contextmanager
def running(app):
    """A real server on a port of its own, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{server.config.port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def in_two(first, last):
    """A body that arrives in two parts."""
    yield first
    time.sleep(0.3)
    yield last


@pytest.fixture(scope="module")
def client():
    with running(serve.make_app()) as client:
        yield client


def test_an_answer_holds_the_prediction_and_the_numbers_of_explain(client):
    """What goes over the wire is what the library says, each token with its place in the text."""
    answer = client.post("/explain", json={"text": TEXT, "target": "negative", "method": "gradient-x-input"})

    why = lignite.explain(lignite.load("tiny-sentiment"), TEXT, target="negative", method="gradient-x-input")
    assert answer.status_code == 200
    said = answer.json()
    assert (said["prediction"], said["explained"]) == (why.prediction, "negative")
    assert said["probability"] == pytest.approx(dict(zip(why["class"].values, why.probability.values, strict=True)))
    np.testing.assert_allclose([token["relevance"] for token in said["tokens"]], why.relevance.values, rtol=1e-5)
    assert [TEXT[token["start"] : token["stop"]] for token in said["tokens"] if token["start"] >= 0][:2] == [
        "The",
        "plot",
    ]


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        ({"json": {"text": TEXT, "target": "dull"}}, 422, "'dull' is none of this model's classes"),
        ({"json": {"text": "  "}}, 422, "the text is empty"),
        ({"json": {"text": "word " * 390}}, 422, "explain does with window="),
        ({"json": {"text": "a" * (serve.CHARACTERS + 1)}}, 422, "text: String should have at most"),
        ({"json": {"text": TEXT, "method": "kernel-shap"}}, 422, "method: Input should be 'attnlrp'"),
        ({"json": {"text": TEXT, "memory": "1 TiB"}}, 422, "memory: Extra inputs are not permitted"),
        ({"content": b"{"}, 422, "the request: Input should be a valid dictionary"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422, "the request: JSON decode error"),
        ({"content": b"x" * (serve.BYTES + 1)}, 413, "longer than 20000 bytes"),
        ({"content": in_two(b"x" * serve.BYTES, b"x")}, 413, "longer than 20000 bytes"),  # no length is declared
    ],
)
def test_what_cannot_be_answered_is_one_message(client, sent, status, message):
    """A caller finds what to correct in one place, whoever noticed it, and no trace of the inside."""
    answer = client.post("/explain", **sent)

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_questions_take_turns_and_only_so_many_wait(monkeypatch):
    """One at work at any time; who comes when the room is full is sent away at once, the others are answered."""
    at_work, most, go_on = [], [], threading.Event()

    def slowly(model, question):
        at_work.append(question)
        most.append(len(at_work))
        go_on.wait(30)
        at_work.pop()
        return {"text": question.text}

    monkeypatch.setattr(serve, "answer", slowly)
    loaded = []
    monkeypatch.setattr(lignite, "load", lambda name: loaded.append(name) or name)
    app = serve.make_app()

    async def crowd():
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://it") as ask,
        ):
            asked = [asyncio.create_task(ask.post("/explain", json={"text": f"{n}"})) for n in range(serve.WAITING + 3)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            sent_away = [task.result() for task in done]
            while not at_work:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # whoever does not wait for its turn is at work, too
            go_on.set()
            answers = await asyncio.gather(*asked)
            return sent_away, answers, await ask.post("/explain", json={"text": "later"})

    sent_away, answers, later = asyncio.run(crowd())

    assert {answer.status_code for answer in sent_away} == {503}
    assert sent_away[0].headers["Retry-After"] == "5"
    assert sorted(answer.status_code for answer in answers) == [200] * (serve.WAITING + 1) + [503] * 2
    assert later.status_code == 200
    assert max(most) == 1
    assert loaded == [serve.MODEL]


def test_a_fault_of_the_service_shows_nothing_of_its_inside(monkeypatch, caplog):
    """What went wrong stands in the log."""

    def fail(model, question):
        raise RuntimeError("secret")

    monkeypatch.setattr(serve, "answer", fail)
    monkeypatch.setattr(lignite, "load", lambda name: name)

    with running(serve.make_app()) as client:
        answer = client.post("/explain", json={"text": TEXT})

    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "the explanation failed; the service's log says why."},
    )
    assert "secret" in caplog.text

"""On a Ray cluster a run is what it is here, whoever is lost meanwhile."""

import gc
import os
import signal
import warnings

import psutil
import pytest
from tests.kit.corpora import TWELVE, VERBS, clean_runs, content
from tests.kit.deaths import DEADLY, DeadlyText

import lignite
from lignite.api.shards import about
from lignite.errors import ModelError

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

pytestmark = [
    pytest.mark.wide,  # a cluster takes half a minute to begin
    pytest.mark.filterwarnings("ignore:.*rows failed:lignite.errors.LigniteWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """Two places for workers on this machine; processes of the cluster are children of this one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        reason = ""
        for _ in range(3):
            try:
                ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            except Exception as error:  # its own clocks run out on a machine that is busy
                reason = str(error).splitlines()[0]
            else:
                reason = ""
                break
            end()
        if reason:
            pytest.skip(f"no Ray cluster begins here: {reason}")
        yield
        end()


def end():
    """Ray leaves its processes to the garbage, which would complain of them at the end of all tests."""
    ray.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A corpus, and by verb what a run leaves that knows no cluster."""
    return clean_runs(tmp_path_factory.mktemp("clean"), lignite.load("tiny-sentiment"))


def workers():
    """Actors of the cluster, as the system knows them."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if "ray::_Worker" in " ".join(process.cmdline())
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_two_actors_one_of_which_is_killed_leave_the_bytes_of_one_process(cluster, clean, tmp_path, verb):
    """Its call is made again by the one that takes its place."""
    corpus, ends = clean
    killed = []

    def progress(done, total):
        if not killed and done:
            killed.append(workers()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    lignite.run(
        verb, data=corpus, model="tiny-sentiment", out=tmp_path / "out", engine="ray", workers=2, progress=progress,
        **VERBS[verb],
    )  # fmt: skip

    assert killed
    assert content(tmp_path / "out") == ends[verb]


def test_a_run_begun_on_the_cluster_goes_on_here_and_the_other_way_round(cluster, clean, tmp_path):
    """Where it was computed is nowhere in the folder."""
    corpus, ends = clean
    options = {"data": corpus, "model": "tiny-sentiment", "out": tmp_path / "out", **VERBS["explain"]}
    for engine, other in (("ray", "local"), ("local", "ray")):
        lignite.run("explain", engine=engine, **options)
        journal = tmp_path / "out" / "journal.jsonl"
        journal.write_bytes(b"\n".join(journal.read_bytes().split(b"\n")[:3]) + b"\n")  # two shards are left

        lignite.run("explain", engine=other, **options)

        assert content(tmp_path / "out") == ends["explain"]


def test_a_row_that_ends_every_actor_is_left_out_by_name(cluster, tmp_path):
    """Ray would make its call again without end."""
    texts = [row["text"] for row in TWELVE if row["text"]][:4]

    with pytest.warns(UserWarning, match="lost its worker|end every worker|1 of 5 rows failed"):
        found = lignite.run(
            "explain", data=[DeadlyText(DEADLY), *texts], model="tiny-sentiment", out=tmp_path / "out", engine="ray",
            method="gradient-x-input",
        )  # fmt: skip

    failures = found.examples.set_index("text")["failure"].dropna()
    assert list(failures.index) == [DEADLY]
    assert "every worker that computed this row died" in failures[DEADLY]
    assert len(found) == 4


def test_a_worker_with_another_model_is_refused(cluster, clean, tmp_path, monkeypatch):
    """Its numbers would stand among the others unseen."""
    monkeypatch.setattr("lignite.api.run.about", lambda model: {**about(model), "model": "another"})

    with pytest.raises(ModelError, match="a worker has model="):
        lignite.run(
            "explain", data=clean[0], model="tiny-sentiment", out=tmp_path / "out", engine="ray", **VERBS["explain"]
        )

"""On a Ray cluster a run is what it is here, whoever is lost meanwhile."""

import os
import shutil
import signal
from contextlib import suppress
from functools import partial

import psutil
import pytest
from tests.kit.clusters import ON_A_CLUSTER, ray_cluster
from tests.kit.corpora import VERBS, clean_runs, content, keep_lines
from tests.kit.deaths import Numbers, dies_once

import lignite
from lignite.runs.cluster import on_ray

pytestmark = [*ON_A_CLUSTER, pytest.mark.filterwarnings("ignore:.*rows failed:lignite.errors.LigniteWarning")]


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster():
        yield


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A corpus, and by verb what a run leaves that knows no cluster; the folders are beside the corpus."""
    return clean_runs(tmp_path_factory.mktemp("clean"), lignite.load("tiny-sentiment"))


def test_a_worker_that_dies_is_replaced_and_every_call_answered_once(cluster, tmp_path):
    """What the dead one was working on, or was to find next, is made again; what was finished is not."""
    calls = [partial(pow, 3, number) for number in range(6)]
    calls[2] = partial(dies_once, tmp_path / "dead", 9)

    brought = list(on_ray(calls, 2))

    assert sorted(brought) == [(number, 3**number) for number in range(6)]


def test_parts_that_end_every_worker_are_left_out(cluster):
    """Ray would make their call again without end. All others are computed together, and the calls beside as ever."""
    calls = [Numbers((1, 2), frozenset()), Numbers((3, 4), frozenset({4})), Numbers((8,), frozenset())]

    with pytest.warns(UserWarning, match="lost its worker 2 times|1 parts of piece 2 end every worker"):
        brought = dict(on_ray(calls, 2))

    assert brought == {0: ((1, 2), ()), 1: ((3,), (4,)), 2: ((8,), ())}


def test_an_error_of_a_call_is_the_runs(cluster):
    """It is no death, and is not tried again."""
    with pytest.raises(ZeroDivisionError):
        list(on_ray([partial(divmod, 1, 0)], 2))


def worker_at_work():
    """One of the actors of the cluster, as the system knows it: busy, if one is."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # one that is going
            title = " ".join(process.cmdline())
            if "ray::_Worker" in title:
                found[title] = process.pid
    return found[max(found, key=len)]


def test_two_actors_one_of_which_is_killed_leave_the_bytes_of_one_process(cluster, clean, tmp_path):
    """Its call is made again by the one that takes its place; and the run goes on without a cluster."""
    corpus, ends = clean
    killed, out = [], tmp_path / "out"

    def progress(done, total):
        if not killed and done:
            killed.append(worker_at_work())
            os.kill(killed[0], signal.SIGKILL)

    options = {"data": corpus, "model": "tiny-sentiment", "out": out, **VERBS["explain"]}
    lignite.run("explain", engine="ray", workers=2, progress=progress, **options)

    assert killed
    assert content(out) == ends["explain"]
    left = keep_lines(out, 2)
    lignite.run("explain", **options)
    assert content(out) == ends["explain"]
    assert len((out / "log.jsonl").read_text().splitlines()) == left + 2 + left


@pytest.mark.parametrize("verb", ["flow", "evaluate"])
def test_a_run_begun_here_goes_on_on_the_cluster(cluster, clean, tmp_path, verb):
    """Where it was computed is nowhere in the folder."""
    corpus, ends = clean
    out = shutil.copytree(corpus.parent / verb, tmp_path / "out")
    left = keep_lines(out, 2)
    (out / "log.jsonl").unlink()

    lignite.run(verb, data=corpus, model="tiny-sentiment", out=out, engine="ray", **VERBS[verb])

    assert content(out) == ends[verb]
    assert len((out / "log.jsonl").read_text().splitlines()) == left

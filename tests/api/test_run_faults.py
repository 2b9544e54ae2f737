"""Whatever stops a run, nothing that was finished is lost or doubled, and its end has the bytes of a quiet one."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
from tests.kit.command_line import started
from tests.kit.corpora import TWELVE, VERBS, clean_runs, content
from tests.kit.deaths import DEADLY, DeadlyText
from tests.kit.wide import mostly_wide

import lignite
from lignite.errors import FileError, ModelError

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="has no such signals and limits"),
    pytest.mark.filterwarnings("ignore:.*rows failed:lignite.errors.LigniteWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

TABLE = {"explain": "tokens", "flow": "flows", "evaluate": "scores"}


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def clean(model, tmp_path_factory):
    """The corpus, and by verb what a run leaves that nothing has stopped."""
    return clean_runs(tmp_path_factory.mktemp("clean"), model)


def begun(verb, corpus, model, out, before=lambda: None):
    """The run in a process of its own, forked from this one, that has everything loaded already."""

    def work():
        before()
        lignite.run(verb, data=corpus, model=model, out=out, **VERBS[verb])

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def finished(out):
    """What the journal holds, whole lines alone."""
    journal = out / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n")[1:-1] if journal.exists() else []
    return {json.loads(line)["key"]: line for line in lines}


@contextmanager
def counted(monkeypatch):
    """Names of the shards that are computed meanwhile."""
    from lignite.api import shards

    computed = []
    call = shards.Shard.__call__
    with monkeypatch.context() as patched:
        patched.setattr(
            shards.Shard, "__call__", lambda self, *args: (computed.append(self.name), call(self, *args))[1]
        )
        yield computed


def goes_on(verb, corpus, model, out, clean, monkeypatch):
    """Start it again: what was finished is not computed, all else is, and the end is the clean one."""
    before = finished(out)
    with counted(monkeypatch) as computed:
        lignite.run(verb, data=corpus, model=model, out=out, **VERBS[verb])

    assert sorted([*computed, *before]) == sorted(json.loads(line)["key"] for line in finished(out).values())
    assert content(out) == clean


@pytest.mark.parametrize("seed", mostly_wide(list(range(30)), [0, 2]))
def test_a_run_that_is_killed_at_any_moment_goes_on_to_the_same_bytes(model, clean, tmp_path, monkeypatch, seed):
    """Kill -9, at a random moment after work was finished in the journal."""
    corpus, ends = clean
    verb, chance = tuple(VERBS)[seed % 3], random.Random(seed)
    after, moment = chance.randrange(1, 5), chance.uniform(0, 0.05)
    process = begun(verb, corpus, model, tmp_path / "out")

    while process.is_alive() and len(finished(tmp_path / "out")) < after:
        time.sleep(0.002)
    time.sleep(moment)
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert len(finished(tmp_path / "out")) >= after
    goes_on(verb, corpus, model, tmp_path / "out", ends[verb], monkeypatch)


def kill_at(name, call):
    """End this process without a word when a function is called for this time."""

    def patched():
        module, attribute = name
        function, calls = getattr(module, attribute), []

        def killed(*args, **options):
            calls.append(1)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        setattr(module, attribute, killed)

    return patched


@pytest.mark.parametrize("moment", ["before a file has its name", "before the line of a shard", "before the summary"])
def test_a_run_that_is_killed_between_two_steps_leaves_no_trace_of_it(model, clean, tmp_path, monkeypatch, moment):
    """A file without its name is cleared away, one without its line is written again."""
    from lignite import files
    from lignite.api import run
    from lignite.runs.unit import Journal

    corpus, ends = clean
    names = {
        "before a file has its name": ((files.os, "fsync"), 5),  # manifest, then two files of each shard
        "before the line of a shard": ((Journal, "_append"), 3),
        "before the summary": ((run, "_summary"), 1),
    }
    process = begun("explain", corpus, model, tmp_path / "out", kill_at(*names[moment]))
    process.join()

    assert process.exitcode == -signal.SIGKILL
    goes_on("explain", corpus, model, tmp_path / "out", ends["explain"], monkeypatch)


@pytest.mark.parametrize(
    ("harm", "verb"),
    mostly_wide([(harm, verb) for harm in ("half", "gone", "other") for verb in VERBS], [("half", "explain")]),
)
def test_a_damaged_shard_is_computed_again_with_a_word(model, clean, tmp_path, monkeypatch, verb, harm):
    """Half a file, none, or one with a changed byte: no reader ever meets it."""
    corpus, ends = clean
    out = tmp_path / "out"
    begun(verb, corpus, model, out).join()
    path = sorted(out.glob(f"{TABLE[verb]}/*"))[1]
    whole = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if harm == "half" else whole[:-1] + bytes([whole[-1] ^ 1]))

    with counted(monkeypatch) as computed, pytest.warns(UserWarning, match="is missing or damaged; what stood there"):
        lignite.run(verb, data=corpus, model=model, out=out, **VERBS[verb])

    assert computed == ["000001"]
    assert content(out) == ends[verb]


def test_two_runs_on_one_folder_refuse_each_other(model, clean, tmp_path):
    """The second would clear away what the first is writing."""
    from lignite.runs.unit import Journal

    corpus, _ = clean
    out = tmp_path / "out"
    begun("explain", corpus, model, out).join()
    settings = json.loads((out / "journal.jsonl").read_bytes().split(b"\n")[0])["settings"]

    with Journal(out / "journal.jsonl", settings), pytest.raises(FileError, match="another run is writing"):
        lignite.run("explain", data=corpus, model=model, out=out, **VERBS["explain"])


@pytest.mark.parametrize(
    ("place", "verb"),
    mostly_wide([(place, verb) for place in ("shard", "journal") for verb in VERBS], [("shard", "explain")]),
)
def test_a_full_disk_ends_a_run_in_one_line_and_keeps_what_is_finished(
    model, clean, tmp_path, monkeypatch, full_disk, verb, place
):
    """Nothing half is left, and with room again the run goes on to the same bytes."""
    corpus, ends = clean
    out = tmp_path / "out"
    size = {"shard": 3000, "journal": len(ends[verb]["journal.jsonl"].split(b"\n")[0]) + 400}[place]
    if (
        place == "shard"
    ):  # the third has no room; of an evaluation, which writes four files for each part, the second part
        from lignite.files import write_whole
        from lignite.runs import unit

        calls = []

        def last(path, content):
            calls.append(path)
            with full_disk(1000 if len(calls) > (4 if verb == "evaluate" else 2) else 10**9):
                write_whole(path, content)

        monkeypatch.setattr(unit, "write_whole", last)
        with pytest.raises(FileError, match="there is no room"):
            lignite.run(verb, data=corpus, model=model, out=out, **VERBS[verb])
        monkeypatch.undo()
    else:
        from lignite.runs.unit import Journal

        append, calls = Journal._append, []

        def short(self, entries):
            calls.append(1)
            with full_disk(size if len(calls) > 2 else 10**9):
                append(self, entries)

        monkeypatch.setattr(Journal, "_append", short)
        with pytest.raises(FileError, match="Free some space"):
            lignite.run(verb, data=corpus, model=model, out=out, **VERBS[verb])
        monkeypatch.undo()

    assert len(finished(out)) >= 1
    assert not list(out.rglob("*.part"))
    goes_on(verb, corpus, model, out, ends[verb], monkeypatch)


@pytest.mark.wide
@pytest.mark.parametrize("verb", VERBS)
def test_two_workers_one_of_which_is_killed_leave_the_bytes_of_one(clean, tmp_path, verb):
    """Who computed what, and when, is nowhere to be seen."""
    corpus, ends = clean
    killed = []

    def progress(done, total):
        if not killed and done:
            killed.append(multiprocessing.active_children()[0])
            os.kill(killed[0].pid, signal.SIGKILL)

    with pytest.warns(UserWarning, match="a worker died; another one takes its place"):
        lignite.run(
            verb, data=corpus, model="tiny-sentiment", out=tmp_path / "out", workers=2, progress=progress, **VERBS[verb]
        )

    assert content(tmp_path / "out") == ends[verb]


@pytest.mark.wide
def test_a_row_that_ends_every_worker_is_left_out_by_name(tmp_path):
    """All others have what they would have without it; the folder says which it was."""
    texts = [row["text"] for row in TWELVE if row["text"]]
    options = {"model": "tiny-sentiment", "workers": 2, "method": "gradient-x-input", "shard": 4}

    with pytest.warns(UserWarning, match="a worker died|end every worker|1 of 12 rows failed"):
        found = lignite.run("explain", data=[DeadlyText(DEADLY), *texts], out=tmp_path / "out", **options)

    failures = found.examples.set_index("text")["failure"].dropna()
    assert list(failures.index) == [DEADLY]
    assert "every worker that computed this row died" in failures[DEADLY]
    assert sorted(found.examples["text"][found.examples["failure"].isna()]) == sorted(texts)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own of a few kilobytes, and what makes it larger."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True)

    if mount("size=16k").returncode:
        pytest.skip("only root may mount a disk")
    yield place, lambda size: mount(f"remount,size={size}").check_returncode()
    subprocess.run(["umount", "--lazy", place], check=True)  # flows are open until nobody has them


@pytest.mark.wide
@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_is_full_keeps_what_is_finished_and_grows_on_to_the_same_bytes(
    model, clean, monkeypatch, small_disk, verb
):
    """Whatever finds no room, it is told in one line: journal, shard and store, each a little further than before."""
    corpus, ends = clean
    place, grow = small_disk
    needed = sum(len(each) // 4096 * 4 + 4 for each in ends[verb].values())  # in pages of 4 KiB
    for size in (16, needed // 3, 2 * needed // 3):
        grow(f"{size}k")
        with pytest.raises(FileError, match=r"there is no room|Free some space"):
            lignite.run(verb, data=corpus, model=model, out=place / "out", **VERBS[verb])
        assert not list(place.rglob("*.part"))

    grow("64m")
    assert finished(place / "out")
    goes_on(verb, corpus, model, place / "out", ends[verb], monkeypatch)


@pytest.mark.wide
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interruption_says_how_to_go_on(model, clean, tmp_path, monkeypatch, workers):
    """Ctrl-C, with one process and with several: no shard is half, and nobody is left behind."""
    corpus, ends = clean
    out = tmp_path / "out"
    command = ["-m", "lignite", "run", "explain", "--data", corpus, "-o", out, "--workers", workers]
    options = [part for name, value in VERBS["explain"].items() for part in (f"--{name}", value)]
    with started(*command, *options) as process:
        while process.poll() is None and not finished(out):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "interrupted; what is finished is kept in" in " ".join(told.decode().split())
    goes_on("explain", corpus, model, out, ends["explain"], monkeypatch)


def test_a_worker_with_another_model_is_refused(model, monkeypatch):
    """On whatever machine it is: its numbers would stand among the others unseen."""
    from lignite.api import shards

    job = shards.Job("it", shards.Source("tiny-sentiment"), None, (), 1, {**shards.about(model), "model": "another"})
    monkeypatch.setitem(shards._taken, job.id, job)

    with pytest.raises(ModelError, match=r"a worker has model='.*', and the run was begun with 'another'"):
        shards.Shard(job.id, "000000", ())((), lambda _: None)


def test_a_long_corpus_takes_the_memory_of_one_shard(model, tmp_path, monkeypatch):
    """What is written is forgotten: of a million rows as of a hundred, no more results are held than a shard has."""
    from lignite.api import requests

    one = lignite.explain(model, "A superb film.", method="gradient-x-input")
    made, held = [], []

    def explain(model, inputs, **options):
        held.append(sum(each() is not None for each in made))
        results = [one.copy() for _ in inputs]
        made.extend(map(weakref.ref, results))
        return results

    monkeypatch.setattr(requests, "explain", explain)

    lignite.run("explain", data=["A film."] * 100, model=model, out=tmp_path / "out", shard=10)

    assert len(made) > 100
    assert max(held) <= 10 + 1  # and that of the first row, whose columns all have


def test_a_long_flow_is_held_once(model, tmp_path, monkeypatch):
    """The first row of all, which is tried before, is forgotten; and what is written makes room for its bytes."""
    from lignite.api import requests

    one, size = lignite.flow(model, "A film.", layers=[0], maps="whole"), 16 << 20
    draw = np.random.default_rng(0).integers

    def flow(model, inputs, *, request):
        return [one.assign(noise=("byte", draw(0, 256, size, dtype=np.uint8))) for _ in inputs]

    monkeypatch.setattr(requests, "flow", flow)
    tracemalloc.start()
    try:
        lignite.run("flow", data=["A film."], model=model, out=tmp_path / "out", layers=[0], maps="whole")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size < most < 1.4 * size


def test_a_slow_row_is_named(model, tmp_path, monkeypatch):
    """While the run goes on, and in its log; rows that are long are no slower than their length."""
    from lignite.api import requests

    def explain(model, inputs, **options):
        time.sleep(1.3 if "slow" in inputs[0] else 1.2 if len(inputs[0]) > 1000 else 0.01)
        return [one.copy() for _ in inputs]

    one, told = lignite.explain(model, "A superb film.", method="gradient-x-input"), []
    monkeypatch.setattr(requests, "explain", explain)
    rows = [{"id": f"r{number}", "text": "a film" + " again" * number} for number in (*range(8), 1000)]
    rows.append({"id": "this one", "text": "a slow" + " again" * 8})

    lignite.run("explain", data=rows, model=model, out=tmp_path / "out", shard=1, say=told.append)

    assert [line for line in told if line.startswith("slow")] == ["slow: 'this one' took 1.3 s"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [name for line in lines for name in line["slow"]] == ["this one"]

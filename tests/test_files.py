"""Every file is written whole or not at all, and nothing is read that is no file or has no end."""

import gzip
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow

import lignite
from lignite.api import evaluate as evaluations
from lignite.apps.outputs import Look, write
from lignite.data.evidence import read_outline
from lignite.data.examples import read_examples
from lignite.errors import FileError, InputError
from lignite.files import MOST_NESTED, check_file, parse_json, read_whole, write_whole
from lignite.inputs.pictures import read_image


@pytest.fixture(scope="module")
def saves():
    """Every way to save, by what is saved and the ending of its file."""
    flow, why = sample_flow(), sample_explanation()
    model = lignite.load("tiny-sentiment")
    told = evaluations.evaluate(model, ["A superb film."], "random", "deletion", steps=2)
    found = {("evaluation", ending): told.save for ending in ("json", "csv", "html", "png", "svg", "pdf")}
    for name, result in (("flow", flow), ("explanation", why)):
        for ending in ("nc", "json", "html", "png", "svg", "pdf"):
            found[name, ending] = lambda path, result=result: write([result], path, Look())
    return found


@pytest.mark.wide
def test_a_full_disk_costs_no_old_file_whatever_is_saved(tmp_path, saves, full_disk):
    """One line, the old file as it was, and nothing beside it."""
    for (name, ending), save in saves.items():
        path = tmp_path / f"{name}.{ending}"
        path.write_bytes(b"precious")

        with full_disk(100), pytest.raises(FileError, match=f"{name}.{ending}: there is no room for it") as caught:
            save(path)

        assert "\n" not in str(caught.value)
        assert path.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [path]
        path.unlink()


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError(5, "Input/output error")])
def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, interruption):
    """A result may have taken hours; half a new one must not cost the old one."""
    path = tmp_path / "flow.nc"
    path.write_bytes(b"precious")

    def break_off(*_):
        raise interruption

    monkeypatch.setattr(os, step, break_off)
    with pytest.raises(KeyboardInterrupt if interruption is KeyboardInterrupt else FileError):
        write_whole(path, b"new")

    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_keeps_its_rights_and_a_link_its_goal(tmp_path):
    """A private file stays private; who follows the link finds the new content."""
    place, link = tmp_path / "place", tmp_path / "link"
    place.write_bytes(b"old")
    place.chmod(0o600)
    link.symlink_to(place)

    write_whole(link, b"new")

    assert link.is_symlink()
    assert place.read_bytes() == b"new"
    assert place.stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_neither_written_nor_read(tmp_path, monkeypatch):
    """Whoever may do everything would replace a device by a file, and wait for a pipe for ever."""
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    os.mkfifo("pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    Path("link").symlink_to("/dev/zero")
    Path("circle").symlink_to("circle")
    Path("folder").mkdir()

    for name, kind in {"pipe": "a pipe", "socket": "a socket", "link": "a device", "folder": "a folder"}.items():
        with pytest.raises(FileError, match=f"{name}: is {kind}, expected a file"):
            read_whole(name)
        with pytest.raises(FileError, match=f"{name}: is {kind}, expected a file name"):
            write_whole(name, b"")
    for name in ("circle", "x" * 5000, "a\0b"):
        with pytest.raises(FileError):
            read_whole(name)
        with pytest.raises(FileError):
            write_whole(name, b"")
    listener.close()


def test_a_file_is_read_as_far_as_it_says(tmp_path):
    """What a system makes up while one reads has no size; what is too large is refused by its size."""
    (tmp_path / "large").write_bytes(bytes(3 * 2**20))

    with pytest.raises(FileError, match=r"large: holds 3 MiB, and at most 2 MiB are read"):
        read_whole(tmp_path / "large", most=2**21)

    assert check_file(tmp_path / "large") == 3 * 2**20
    if Path("/proc/self/status").exists():
        assert read_whole("/proc/self/status") == b""


def test_nothing_is_read_behind_an_image_that_is_no_picture_in_a_file(tmp_path, monkeypatch):
    """A column of a data set names any path: devices never end, pipes never begin, and small files unfold."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    Path("zero.png").symlink_to("/dev/zero")
    Image.new("1", (50, 50)).save("bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    refused = {
        "pipe.png": "is a pipe",
        "zero.png": "is a device",
        "/proc/self/mem": "is empty",
        "bomb.png": "more than 100 pixels",
    }

    for name, message in refused.items():
        for read in (read_image, read_outline):
            with pytest.raises(InputError, match=message) as caught:
                read(name)
            assert "\n" not in str(caught.value)
    for name in ("pipe.png", "zero.png"):
        data = Path(name).with_suffix(".csv")
        data.symlink_to(name)
        with pytest.raises(FileError, match=r"is a (pipe|device)"):
            read_examples(data)


def test_what_unfolds_without_end_is_refused(tmp_path, monkeypatch):
    """A gzip file of a megabyte can hold a thousand."""
    monkeypatch.setattr("lignite.data.sources.MOST_BYTES", 1000)
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 2000))

    with pytest.raises(FileError, match="unfolds into more than"):
        read_examples(path)


def test_a_result_that_declares_more_than_fits_into_memory_is_refused(tmp_path, monkeypatch):
    """Compressed zeros take no room in the file, and all of it in memory."""
    lignite.save(sample_flow(), tmp_path / "flow.nc")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1000))

    with pytest.raises(FileError, match=r"its arrays take .* GiB, and .* are free"):
        lignite.open(tmp_path / "flow.nc")


@pytest.mark.parametrize("content", ["[" * 100_000, "[" * 200 + "]" * 200, '{"a":' * 101 + "1" + "}" * 101])
def test_json_without_end_is_refused(content):
    """The interpreter ends where lists are nested deeper than it may call itself."""
    for written in (content, content.encode()):
        with pytest.raises(ValueError, match=r"nested more than|Expecting"):
            parse_json(written)


def test_json_of_many_short_lists_is_read():
    """Depth is what is limited, not number."""
    rows = [[[number]] for number in range(1000)]
    nested = torch.zeros([1] * MOST_NESTED if MOST_NESTED <= 64 else [1] * 64).tolist()

    assert parse_json(str(rows)) == rows
    assert parse_json(str(nested)) == nested

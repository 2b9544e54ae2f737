"""What does not fit into the memory allowed lies in a file, and comes back as it was."""

import errno
import tempfile

import pytest
import torch

from lignite.errors import FileError
from lignite.spill import Spilled

PARTS = [
    torch.arange(6, dtype=torch.float64).view(2, 3),
    torch.tensor([[0.1, -3.0, torch.nan], [torch.inf, 0.0, -0.0]], dtype=torch.float64).T,  # not contiguous
    torch.zeros(0, 3, dtype=torch.float64),
    torch.tensor(2.5, dtype=torch.float64),
    torch.tensor([1.5, -2.0, 3.0], dtype=torch.bfloat16),
    torch.tensor([True, False]),
]


def same(one, other):
    assert (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    assert torch.equal(torch.nan_to_num(one.double(), 7), torch.nan_to_num(other.double(), 7))


@pytest.mark.parametrize(("room", "n_written"), [(0.0, 5), (48.0, 4), (1e9, 0)])
def test_what_is_put_in_comes_out(room, n_written):
    """Of every shape and type, read in any order; an empty tensor has room everywhere."""
    kept = Spilled(PARTS, room=room)

    assert (len(kept), kept.n_written) == (len(PARTS), n_written)
    for place in (3, 0, 5, 4, 1, 2):
        same(kept[place], PARTS[place])
    for found, part in zip(kept.taken(), PARTS, strict=True):
        same(found, part)
    assert len(kept) == 0


def test_the_last_may_be_taken_first():
    """Gradients are found from the top down."""
    found = list(Spilled(PARTS, room=48.0).taken(last_first=True))

    for one, part in zip(found, reversed(PARTS), strict=True):
        same(one, part)


def test_the_file_has_no_name_and_graphs_are_cut(tmp_path, monkeypatch):
    """Nothing is left behind by a process that is killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    weight = torch.ones(4, requires_grad=True)

    kept = Spilled([weight * 2, weight * 3], room=16.0)

    assert kept.n_written == 1
    assert list(tmp_path.iterdir()) == []
    assert not any(part.requires_grad for part in kept)


def test_a_full_disk_is_said_with_what_helps(monkeypatch):
    """How much was to be written, where, and what to give."""

    class Full:
        def seek(self, *_):
            return 0

        def close(self):
            pass

        def write(self, numbers):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *_, **__: Full())

    with pytest.raises(FileError, match=r"4 MiB .* cannot be written .*No space left on device.*memory=.*TMPDIR"):
        Spilled([torch.zeros(2**20)], room=10.0)


def test_a_file_that_takes_a_part_at_a_time_is_written_whole(monkeypatch):
    """The system may write less than it is given."""
    own = tempfile.TemporaryFile

    class Slow:
        def __init__(self, *args, **kwargs):
            self.file = own(*args, **kwargs)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, numbers):
            return self.file.write(numbers[:5])

        def readinto(self, numbers):
            return self.file.readinto(numbers[:7])

    monkeypatch.setattr(tempfile, "TemporaryFile", Slow)

    for found, part in zip(Spilled(PARTS, room=0.0), PARTS, strict=True):
        same(found, part)

"""Stores of flows are written chunk by chunk: the same bytes every time, and no flow is held twice."""

import tracemalloc
import zipfile

import numpy as np
import pytest
import xarray as xr

from lignite.errors import FileError
from lignite.results.zarr import open_store, write_store

SIDE = 1024


def noise(seed, layers=4):
    """Scores that no compression makes smaller, 4 MiB for each layer."""
    scores = np.random.default_rng(seed).random((layers, SIDE, SIDE), dtype=np.float32)
    return xr.Dataset({"whole": (("layer", "target", "source"), scores)}, {"layer": range(layers)}, {"text": "a"})


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_a_flow_is_held_once_while_it_is_written(traced):
    """One as large as half the memory is written: while its chunks are, and while the whole store is read back."""
    flows = (("0", noise(0)) for _ in range(1))

    content = write_store(flows, {})

    _, most = tracemalloc.get_traced_memory()
    assert len(content) > 0.8 * 4 * SIDE * SIDE * 4
    assert most < 1.4 * 4 * SIDE * SIDE * 4


def test_flows_come_back_from_a_store_whose_bytes_are_the_same_every_time(tmp_path):
    """Whichever chunk came first, in this process or another: they stand by their names, on one date."""
    flows = {name: noise(seed, layers=1) for seed, name in enumerate(("0", "1"))}

    written = {write_store(flows.items(), {"ids": {"0": "a"}}) for _ in range(3)}

    assert len(written) == 1
    (tmp_path / "flows.zarr.zip").write_bytes(written.pop())
    with zipfile.ZipFile(tmp_path / "flows.zarr.zip") as file:
        assert {each.date_time[0] for each in file.infolist()} == {1980}
        assert file.namelist() == sorted(file.namelist())
    with open_store(tmp_path / "flows.zarr.zip") as tree:
        assert tree.attrs == {"ids": {"0": "a"}}
        for name, flow in flows.items():
            xr.testing.assert_identical(tree[name].to_dataset().load(), flow)


def test_a_full_disk_is_told_with_the_way_around_it(full_disk):
    """It is not the disk of the results."""
    with full_disk(100_000), pytest.raises(FileError, match="by TMPDIR"):
        write_store([("0", noise(0, layers=1))], {})

"""What is saved comes back unchanged; what cannot be saved or read says so in one line."""

import json
import os
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow

from lignite.errors import FileError, InputError
from lignite.results.io import open as open_result
from lignite.results.io import save

ENDINGS = (".nc", ".json")
DIFFICULT = ["", " ", "é", "中文", "😀", "▁x", 'a"b\\', "line\nbreak", "</script>", "e\u0301"]


def assert_unchanged(before, after):
    """Values, names, order, labels, attrs and types; of strings not the width, which says nothing."""
    xr.testing.assert_identical(after, before)
    assert list(after.variables) == list(before.variables)
    for name in before.variables:
        if before[name].dtype.kind != "U":
            assert after[name].dtype == before[name].dtype, name
    assert {name: type(value) for name, value in after.attrs.items()} == {
        name: type(value) for name, value in before.attrs.items()
    }


@contextmanager
def ordinary_user(folder):
    """Root may do everything, so permissions are tested as somebody else, who can at least reach the folder."""
    if os.geteuid() != 0:
        yield
        return
    modes = {parent: parent.stat().st_mode for parent in list(folder.parents)[:3]}
    for parent, mode in modes.items():
        parent.chmod(mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent, mode in modes.items():
            parent.chmod(mode)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "options", [{}, {"pair": True, "dtype": "float64"}, {"grid": (3, 4)}, {"targets": [7, 4], "layers": [3, 5, 9, 10]}]
)
def test_a_result_comes_back_unchanged(tmp_path, ending, options):
    """A saved result is the result."""
    flow = sample_flow(**options)

    save(flow, tmp_path / f"flow{ending}")

    assert_unchanged(flow, open_result(tmp_path / f"flow{ending}"))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "relevance-flow", "stochastic": True, "dtype": "float64"},
        {"method": "ig", "pair": True},
        {"method": "saliency", "grid": (3, 4)},
        {"tokens": ["a", "rose", "is", "a", "rose"], "classes": ("no", "é", "positive")},
    ],
)
def test_an_explanation_comes_back_unchanged(tmp_path, ending, options):
    """Single numbers are kept, and strings that repeat do not become an index on the way."""
    why = sample_explanation(**options)

    save(why, tmp_path / f"why{ending}")
    opened = open_result(tmp_path / f"why{ending}")

    assert_unchanged(why, opened)
    assert list(opened.indexes) == list(why.indexes)
    assert "token" not in opened.indexes


@pytest.mark.parametrize("ending", ENDINGS)
def test_difficult_tokens_of_an_explanation_come_back_unchanged(tmp_path, ending):
    """The axis is named like its strings, which file formats treat in ways of their own."""
    why = sample_explanation().drop_vars("token")
    why = why.assign_coords(xr.Coordinates({"token": ("token", DIFFICULT)}, indexes={}))

    save(why, tmp_path / f"why{ending}")
    save(open_result(tmp_path / f"why{ending}").isel(token=[9, 0]), tmp_path / f"some{ending}")

    assert_unchanged(why, open_result(tmp_path / f"why{ending}"))
    assert open_result(tmp_path / f"some{ending}").token.values.tolist() == [DIFFICULT[9], ""]


@pytest.mark.parametrize("ending", ENDINGS)
def test_difficult_strings_and_numbers_come_back_unchanged(tmp_path, ending):
    """Tokens are any string, also none; attrs tell 1 from 1.0 and may be long."""
    flow = sample_flow().assign_coords(source_token=("source", DIFFICULT))
    flow.attrs |= {"text": "".join(DIFFICULT) * 10_000, "tol": 1.0, "count": 1, "limit": float("inf"), "revision": ""}
    flow.attrs |= {"word": "Infinity", "nothing": float("nan")}
    flow["whole"].attrs = {"unit": "ü", "scale": 2.0}

    save(flow, tmp_path / f"flow{ending}")

    assert_unchanged(flow, open_result(tmp_path / f"flow{ending}"))


@pytest.mark.wide
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_number_comes_back_bit_by_bit(tmp_path, ending, dtype, data):
    """NaN, infinities, negative zero and the smallest and largest numbers are scores like any other."""
    flow = sample_flow(dtype=dtype, details=False)[["whole", "whole_gap"]]
    flow["whole"].values[:] = data.draw(st_numpy.arrays(dtype, flow.whole.shape, elements={"allow_nan": False}))
    flow["whole"].values[0, 0, :3] = [np.nan, -np.inf, -0.0]

    save(flow, tmp_path / f"flow{ending}")
    opened = open_result(tmp_path / f"flow{ending}")

    bits = np.dtype(dtype.replace("float", "int"))
    np.testing.assert_array_equal(opened.whole.values.view(bits), flow.whole.values.view(bits))


def test_netcdf_is_compressed_and_open_to_other_tools(tmp_path):
    """A layer-by-layer map of a long text is mostly small numbers; other libraries read the file as it stands."""
    flow = sample_flow()

    save(flow, tmp_path / "flow.nc")

    with h5py.File(tmp_path / "flow.nc") as file:
        assert file["whole"].compression == "gzip"
        np.testing.assert_array_equal(file["whole"][()], flow.whole.values)
        assert "_FillValue" not in file["whole"].attrs


def test_json_is_strict_and_readable_as_documented(tmp_path):
    """Any language can read it: no bare NaN, named axes, and numbers as short as a float32 allows."""
    flow = sample_flow()
    flow["whole"].values[0, 0, :2] = [np.nan, np.float32(0.1)]
    flow.attrs["text"] = "中文"

    save(flow, tmp_path / "flow.json")
    content = json.loads((tmp_path / "flow.json").read_bytes(), parse_constant=lambda name: pytest.fail(name))

    assert content["format"] == "lignite result"
    assert content["version"] == 1
    assert content["attrs"]["model"] == "sample"
    whole = content["variables"]["whole"]
    assert (whole["dims"], whole["shape"], whole["dtype"]) == (["layer", "target", "source"], [3, 10, 10], "float32")
    assert whole["data"][0][0][:2] == ["NaN", 0.1]
    for readable in ('"[CLS]", "the", "un"', '"text": "中文"'):
        assert readable in (tmp_path / "flow.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_opened_result_can_be_selected_and_saved_over_its_own_file(tmp_path, ending):
    """Nothing keeps the file open, and no storage detail of the old file outlives a selection."""
    path = tmp_path / f"flow{ending}"
    save(sample_flow(), path)

    assert not any(variable.encoding for variable in open_result(path).variables.values())
    selected = open_result(path).sel(layer=[1], source=[0, 4])
    save(selected, path)

    assert_unchanged(selected, open_result(path))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_whoever_reads_the_old_file_is_not_disturbed(tmp_path, ending):
    """Replacing in one step: the new file takes the name, the old one lives on for those who have it open."""
    path = tmp_path / f"flow{ending}"
    save(sample_flow(), path)
    old = path.read_bytes()

    with path.open("rb") as reader:
        save(sample_flow(seed=1), path)
        still_there = reader.read()

    assert still_there == old
    assert_unchanged(sample_flow(seed=1), open_result(path))


@pytest.mark.parametrize("name", ["FLOW.NC", "Flow.Json"])
def test_an_ending_may_be_in_capitals(tmp_path, name):
    """Some systems shout their file names."""
    save(sample_flow(), tmp_path / name)

    assert_unchanged(sample_flow(), open_result(tmp_path / name))


def test_no_encoding_of_an_earlier_file_reaches_the_new_one(tmp_path):
    """Xarray remembers how a variable was stored elsewhere; offsets beyond 127 would not survive as bytes."""
    offsets = np.arange(10) * 100
    flow = sample_flow().assign_coords(source_start=("source", offsets))
    flow["source_start"].encoding = {"dtype": "int8"}
    flow["whole"].encoding = {"dtype": "int16", "scale_factor": 0.1}

    save(flow, tmp_path / "flow.nc")

    assert_unchanged(flow, open_result(tmp_path / "flow.nc"))


def test_a_link_keeps_pointing_to_the_file_that_is_replaced(tmp_path):
    """Replacing the link itself would leave the old result where others look for it."""
    (tmp_path / "link.nc").symlink_to(tmp_path / "flow.nc")

    save(sample_flow(), tmp_path / "link.nc")

    assert (tmp_path / "link.nc").is_symlink()
    assert_unchanged(sample_flow(), open_result(tmp_path / "flow.nc"))


def test_the_saved_file_has_the_rights_that_any_new_file_has(tmp_path):
    """Colleagues read results; a file private to its writer would surprise."""
    (tmp_path / "plain").touch()

    save(sample_flow(), tmp_path / "flow.json")

    assert (tmp_path / "flow.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["flow.txt", "flow", ".nc", "flow.nc.gz"])
def test_an_unknown_ending_is_refused_before_anything_happens(tmp_path, name):
    """The ending picks the format; a guess would write a file nobody can open."""
    with pytest.raises(FileError, match=r"unknown ending .* \.nc, \.json"):
        save(sample_flow(), tmp_path / name)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["flow.txt", "flow.nc.gz", "there"])
def test_a_file_of_an_unknown_ending_is_not_read(tmp_path, name):
    """Whether there is one or not; what has no ending has to be there to be blamed for it."""
    (tmp_path / "there").write_bytes(b"notes")

    with pytest.raises(FileError, match=r"unknown ending .* \.nc, \.json"):
        open_result(tmp_path / name)


def test_a_folder_that_is_missing_is_said_to_be_missing(tmp_path):
    """Its name has no ending, and nobody who mistypes it wants to hear about that."""
    with pytest.raises(FileError, match="reviws: no such file"):
        open_result(tmp_path / "reviws")


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_that_are_not_there_or_no_files_are_named(tmp_path, ending):
    """Each wrong path has its own line."""
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / f"empty{ending}").touch()
    (tmp_path / "file").touch()

    for place, message in [("missing", "no such file"), ("folder", "is a folder"), ("empty", "is empty")]:
        with pytest.raises(FileError, match=message):
            open_result(tmp_path / f"{place}{ending}")
    for place, message in [("folder", "is a folder"), ("nowhere/flow", "no folder"), ("file/flow", "no folder")]:
        with pytest.raises(FileError, match=message):
            save(sample_flow(), tmp_path / f"{place}{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_missing_rights_are_named(tmp_path, ending):
    """Not every folder is one's own."""
    secret = tmp_path / f"secret{ending}"
    save(sample_flow(), secret)
    secret.chmod(0o000)
    tmp_path.chmod(0o555)

    with ordinary_user(tmp_path):
        with pytest.raises(FileError, match="no permission to read"):
            open_result(secret)
        with pytest.raises(FileError, match="no permission to write"):
            save(sample_flow(), tmp_path / f"new{ending}")
    tmp_path.chmod(0o777)  # a folder of one's own would let a protected file be replaced
    with ordinary_user(tmp_path), pytest.raises(FileError, match="is write-protected"):
        save(sample_flow(), secret)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, ending, share):
    """A copy that broke off must not pass for a small result."""
    path = tmp_path / f"flow{ending}"
    save(sample_flow(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with pytest.raises(FileError, match=r"flow\.(nc|json): is (damaged|no complete JSON|no NetCDF)"):
        open_result(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("flow.nc", b'{"format": "lignite result"}', "is no NetCDF 4 file"),
        ("flow.json", b"\x89HDF\r\n\x1a\n\xff", "is no complete JSON"),
        ("flow.json", b"[1, 2]", "no result saved by lignite"),
        ("flow.json", b'{"format": "lignite result", "version": 2}', "layout version 2, this lignite reads 1"),
        ("flow.json", b'{"format": "lignite result", "version": 1}', "is damaged"),
        ("flow.json", b"[" * 100_000, "is no complete JSON"),
    ],
)
def test_foreign_files_are_refused(tmp_path, name, content, message):
    """The message says what the file is not, before anything else goes wrong with it."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(FileError, match=message):
        open_result(tmp_path / name)


def test_somebody_elses_netcdf_is_refused(tmp_path):
    """A NetCDF file of another field opens well and means nothing here."""
    xr.Dataset({"rain": ("day", [1.0, 2.0])}).to_netcdf(tmp_path / "rain.nc", engine="h5netcdf")

    with pytest.raises(FileError, match=r"no result that lignite understands.*no attribute 'kind'"):
        open_result(tmp_path / "rain.nc")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("coords", "layer", "data", 0), 0.5),
        (("coords", "layer", "data"), [0, 1]),
        (("coords", "source_special", "data", 0), 1),
        (("coords", "source_token", "data", 0), 1),
        (("variables", "whole", "data", 0, 0, 0), "much"),
        (("variables", "whole", "data", 0, 0, 0), None),
        (("variables", "whole", "dtype"), "float128"),
        (("variables", "whole", "dims"), ["layer", "target"]),
        (("variables", "whole"), 1),
        (("variables",), []),
    ],
)
def test_json_edited_by_hand_is_checked_value_by_value(tmp_path, path, value):
    """Numpy would round, cast or broadcast such values without a word."""
    file = tmp_path / "flow.json"
    save(sample_flow(), file)
    content = json.loads(file.read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(content))

    with pytest.raises(FileError, match="is damaged"):
        open_result(file)


@pytest.mark.parametrize("value", [[1.0], "much", None, True])
def test_a_single_number_edited_by_hand_is_checked(tmp_path, value):
    """It has no axis whose length would give a wrong one away."""
    file = tmp_path / "why.json"
    save(sample_explanation(method="ig"), file)
    content = json.loads(file.read_text())
    content["variables"]["total_gap"]["data"] = value
    file.write_text(json.dumps(content))

    with pytest.raises(FileError, match="is damaged"):
        open_result(file)


def test_strings_that_netcdf_cannot_hold_are_refused_there_and_kept_by_json(tmp_path):
    """NetCDF strings end at NUL and are UTF-8; a byte-level tokenizer can produce neither-nor."""
    flow = sample_flow()

    for text in ("nul \0 inside", "half an emoji \ud83d"):
        flow.attrs["text"] = text
        with pytest.raises(FileError, match=r"NetCDF cannot hold this result.*Save it as \.json"):
            save(flow, tmp_path / "flow.nc")
        save(flow, tmp_path / "flow.json")
        assert open_result(tmp_path / "flow.json").attrs["text"] == text

    assert not (tmp_path / "flow.nc").exists()


def test_only_results_are_saved(tmp_path):
    """What could not be opened again is not written."""
    with pytest.raises(InputError, match="no variable 'mine'"):
        save(sample_flow().assign(mine=1.0), tmp_path / "flow.nc")

    assert not list(tmp_path.iterdir())

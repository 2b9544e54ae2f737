"""What every test can rely on: one thread, seeded generators, and the real models only where they are."""

import logging
import random
import resource
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

SHARED = Path(__file__).parents[2] / "shared"

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of what is tested
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {}
    if not SHARED.is_dir():
        reasons["shared"] = f"real models and data are not beside the checkout ({SHARED})"
    if not torch.cuda.is_available():
        reasons["gpu"] = "no CUDA device"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _repeatable():
    torch.set_num_threads(1)  # tiny products spend longer sharing than computing, and sums keep their order
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (whoever uses the global generator shall repeat, too)
    random.seed(0)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The real models and data beside the checkout; ask for it in tests marked `shared`."""
    return SHARED


@pytest.fixture
def plain_terminal(monkeypatch):
    """80 columns, no colours, and transformers' logging as it was: a command owns its process, a test does not."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    level = logging.getLogger("transformers").level
    yield
    logging.getLogger("transformers").setLevel(level)


@pytest.fixture
def opened_pages(tmp_path, monkeypatch):
    """What a browser is asked to open; pages that nobody named are written below `tmp_path`."""
    found: list[Path] = []
    monkeypatch.setattr("webbrowser.open", lambda address: found.append(Path(address.removeprefix("file://"))) or True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return found


@pytest.fixture
def full_disk():
    """A disk on which a file may grow to so many bytes, and no further."""

    @contextmanager
    def limited(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores the signal and sees the error
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited

"""A Ray cluster of two places for workers on this machine."""

import gc
import importlib.util
import warnings
from contextlib import contextmanager

import pytest

QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # workers would give way to everything else
    "RAY_memory_monitor_refresh_ms": "0",  # other processes may fill the memory; ours are not to pay for it
}
"""Of the cluster: it looks at nothing but its own work."""

ON_A_CLUSTER = [
    pytest.mark.wide,  # it takes some ten seconds to begin, and every worker that reads a model five
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""Marks of tests that need one. Whoever ends them by a signal ends the cluster, too, and sees the test at hand fail."""


@contextmanager
def ray_cluster():
    """Processes of the cluster are children of this one."""
    import ray

    with pytest.MonkeyPatch.context() as patched:
        for name, value in QUIET.items():
            patched.setenv(name, value)
        for left in (2, 1, 0):
            try:
                ray.init(
                    num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False,
                    logging_level="ERROR",
                )  # fmt: skip
                break
            except Exception as error:  # its own clocks run out on a machine that is busy
                _end(ray)
                if not left:
                    pytest.skip(f"no Ray cluster begins here: {str(error).splitlines()[0]}")
        yield
        _end(ray)


def _end(ray):
    """Ray leaves its processes to the garbage, which would complain of them at the end of all tests."""
    ray.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()

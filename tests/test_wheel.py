"""What people install, tried without the source beside it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRIED = """
import lignite
why = lignite.explain(lignite.load("tiny-sentiment"), "A superb film.", method="gradient-x-input")
lignite.save(why, "why.nc")
print(lignite.__file__, why.prediction)
"""


@pytest.mark.wide
def test_the_wheel_explains_a_text_and_draws_a_page_without_the_source(tmp_path):
    """Templates, scripts, weights or tables that are not packed are missed by whoever installs, never in a checkout."""
    site, env = tmp_path / "site", {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("lignite-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
        names = packed.namelist()
    view = [sys.executable, "-m", "lignite", "view", "why.nc", "--quiet", "-o", "why.html"]

    tried = subprocess.run([sys.executable, "-c", TRIED], cwd=tmp_path, env=env, check=True, capture_output=True)
    subprocess.run(view, cwd=tmp_path, env=env, check=True, capture_output=True)

    assert tried.stdout.decode().split() == [str(site / "lignite" / "__init__.py"), "positive"]
    assert "superb" in (tmp_path / "why.html").read_text("utf-8")
    assert "lignite/py.typed" in names
    assert [name for name in names if "train" in name or name.startswith(("tests", "recipes", "bench"))] == []

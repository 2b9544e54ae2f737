"""The version of what is installed; results name it."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("lignite")
except PackageNotFoundError:  # run from a source tree that is not installed
    VERSION = "0.0.0"

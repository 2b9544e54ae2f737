"""The small models that travel with lignite, so that it explains something without a network."""

from importlib.resources import files
from pathlib import Path


def bundled() -> dict[str, Path]:
    """Public name of every bundled model, and the folder that transformers loads it from.

    Examples
    --------
    >>> list(bundled())
    ['tiny-digits', 'tiny-sentiment']
    """
    room = Path(str(files(__name__)))
    return {folder.name: folder for folder in sorted(room.iterdir()) if (folder / "model.safetensors").is_file()}

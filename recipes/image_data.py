"""Turn the shared image sets into files that `lignite evaluate` reads: one picture, label and place per line.

    python recipes/image_data.py [NAME ...] [--shared FOLDER] [--out out/data]

README.md tells what each set measures and what its columns mean.
"""

import argparse
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from data import ROOT, drawn, shared_folder

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels, the last two exclusive, as lignite writes boxes."""

ITEMS = ("T-shirt", "Trouser", "Dress", "Sandal", "Bag", "Ankle boot")
FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
PETS = ("cat", "dog")
SIDE = 128
"""Height and width of the photographs as the model is shown them."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    id: str
    image: UInt8[np.ndarray, "y x ..."]
    label: str | None
    """None for a mosaic, which has four."""
    mask: Bool[np.ndarray, "y x"] | None = None
    """The pixels of the object; None where nobody marked them."""
    distractor: Bool[np.ndarray, "y x"] | None = None
    """The pixels of what resembles the object but is none."""
    boxes: tuple[Box, ...] | None = None
    cells: tuple[str, ...] | None = None
    """Labels of a mosaic's quarters, in reading order."""


def scenes(shared: Path, split: str) -> list[Picture]:
    """Fashion items in scenes; a tenth of train is held out as dev, no item of it seen in another scene."""
    with np.load(shared / "data" / "fmnist_scenes" / f"{'test' if split == 'test' else 'train'}.npz") as file:
        stored = {name: file[name] for name in file.files}
    order = sorted(range(len(stored["y"])), key=lambda place: drawn(f"{stored['src'][place]}"))
    tenth = len(order) // 10  # between two items, as it happens
    chosen = {"test": order, "dev": order[:tenth], "train": order[tenth:]}[split]
    found = [
        Picture(
            id=f"{split}-{place:05}",
            image=stored["x"][place],
            label=ITEMS[stored["y"][place]],
            mask=stored["mask"][place] == 1,
            distractor=stored["mask"][place] == 2,
            boxes=(tuple(map(int, stored["box"][place])),),
        )
        for place in chosen
    ]
    return found if split == "train" else sorted(found, key=lambda picture: drawn(picture.id))


def scene_mosaics(shared: Path, split: str) -> list[Picture]:
    """Grids of four different items; the first half, as if by lot, is dev."""
    with np.load(shared / "data" / "fmnist_scenes" / "mosaic.npz") as file:
        images, labels = file["x"], file["y"]
    found = [
        Picture(id=f"mosaic-{place:05}", image=image, label=None, cells=tuple(ITEMS[label] for label in four))
        for place, (image, four) in enumerate(zip(images, labels, strict=True))
    ]
    return halves(found, split)


def halves(pictures: Sequence[Picture], split: str) -> list[Picture]:
    ordered = sorted(pictures, key=lambda picture: drawn(picture.id))
    middle = len(ordered) // 2
    return {"train": [], "dev": ordered[:middle], "test": ordered[middle:]}[split]


def opened(archive: zipfile.ZipFile, name: str) -> Image.Image:
    return Image.open(io.BytesIO(archive.read(name)))


def rows_of(archive: zipfile.ZipFile, name: str) -> list[dict]:
    return [json.loads(line) for line in archive.read(name).decode("utf-8").splitlines()]


def flowers(shared: Path, part: str) -> list[Picture]:
    with zipfile.ZipFile(shared / "data" / "flower_photos_128" / f"{part}.zip") as archive:
        return [
            Picture(
                id=row["id"],
                image=np.asarray(opened(archive, f"images/{row['id']}.jpg").convert("RGB")),
                label=row["label_name"],
            )
            for row in rows_of(archive, "index.jsonl")
        ]


def pets(shared: Path, part: str) -> list[Picture]:
    """Photographs and masks at the size of the flowers."""
    found = []
    with zipfile.ZipFile(shared / "data" / "oxford_pets_mini" / f"{part}.zip") as archive:
        for row in rows_of(archive, "index.jsonl"):
            photo = opened(archive, f"images/{row['id']}.jpg").convert("RGB")
            trimap = opened(archive, f"masks/{row['id']}.png").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            found.append(
                Picture(
                    id=row["id"],
                    image=np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC)),
                    label=PETS[row["label"]],
                    mask=np.asarray(trimap) == 1,
                )
            )
    return found


def photographs(shared: Path, split: str) -> list[Picture]:
    """Flowers, and pets with their masks; a tenth of train is held out as dev."""
    part = "test" if split == "test" else "train"
    order = sorted([*flowers(shared, part), *pets(shared, part)], key=lambda picture: drawn(picture.id))
    tenth = len(order) // 10
    return {"test": order, "dev": order[:tenth], "train": order[tenth:]}[split]


def pet_photographs(shared: Path, split: str) -> list[Picture]:
    """Those with masks, so that a limit on the number of pictures does not take the flowers first."""
    return [picture for picture in photographs(shared, split) if picture.mask is not None]


def flower_mosaics(shared: Path, split: str) -> list[Picture]:
    """Grids of four different flowers, each photograph at half its size, so that the model takes them as they are."""
    with zipfile.ZipFile(shared / "data" / "flower_photos_128" / "test.zip") as archive:
        found = []
        for row in rows_of(archive, "mosaics.jsonl"):
            canvas = Image.new("RGB", (SIDE, SIDE))
            for place, name in enumerate(row["images"]):
                photo = opened(archive, f"images/{name}.jpg").convert("RGB")
                small = photo.resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC)
                canvas.paste(small, (place % 2 * SIDE // 2, place // 2 * SIDE // 2))
            cells = tuple(FLOWERS[label] for label in row["labels"])
            found.append(Picture(id=row["id"], image=np.asarray(canvas), label=None, cells=cells))
    return halves(found, split)


SETS: Mapping[str, Callable[[Path, str], list[Picture]]] = {
    "fmnist-scenes": scenes,
    "fmnist-mosaics": scene_mosaics,
    "flowers-pets": photographs,
    "pets": pet_photographs,
    "flower-mosaics": flower_mosaics,
}


def written(pictures: Sequence[Picture], name: str, out: Path) -> Iterator[str]:
    """Write the pictures and masks as PNG, and yield the line of JSON for each; what a set has not has no field."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        path = folder / f"{picture.id}.png"
        Image.fromarray(picture.image).save(path)
        fields: dict[str, object] = {"id": picture.id, "image": path.relative_to(out).as_posix()}
        if picture.label is not None:
            fields["label"] = picture.label
        for kind in ("mask", "distractor"):
            pixels = getattr(picture, kind)
            if pixels is not None:
                beside = path.with_name(f"{picture.id}-{kind}.png")
                Image.fromarray(pixels.astype(np.uint8) * 255).save(beside)
                fields[kind] = beside.relative_to(out).as_posix()
        if picture.boxes is not None:
            fields["boxes"] = picture.boxes
        if picture.cells is not None:
            fields["cells"] = picture.cells
        yield json.dumps(fields) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the image sets as lignite evaluate reads them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SETS)} (default: all)")
    parser.add_argument("--shared", type=Path, help="folder with data/ (default: LIGNITE_SHARED)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "data")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in SETS]
    if unknown:
        parser.error(f"no image set is called {', '.join(unknown)}. Known: {', '.join(SETS)}.")
    shared = shared_folder(arguments.shared)
    for name in arguments.names or SETS:
        for split in ("dev", "test"):
            pictures = SETS[name](shared, split)
            path = arguments.out / f"{name}-{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(written(pictures, name, arguments.out)), encoding="utf-8")
            print(f"{path}: {len(pictures)} pictures")


if __name__ == "__main__":
    main()

"""Evaluating images: what people marked reaches the picture that the model sees, and one bad file stops nothing."""

import json
import re
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from tests.kit.architectures import randomize
from tests.kit.bag_of_words import bag_of_words
from tests.kit.patch_sums import oracle, patch_sums
from transformers import (
    CLIPImageProcessorPil,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)
from typer.testing import CliRunner

import lignite
from lignite.api import evaluate as evaluations
from lignite.api import units
from lignite.api.evaluate import evaluate
from lignite.apps.cli import app
from lignite.data.columns import Columns
from lignite.data.evidence import carry, read_outline
from lignite.data.examples import read_examples
from lignite.errors import FileError, InputError, OptionError
from lignite.methods import METHODS
from lignite.metrics.asking.faithfulness import faithfulness
from lignite.metrics.readings.localization import localization, mask_from_boxes
from lignite.metrics.registry import METRICS, choose_metrics
from lignite.results.pixels import enlarge
from lignite.targets.ask import ask
from lignite.views.evaluation.page import evaluation_html
from lignite.views.evaluation.picture import draw_curves

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # the same float64 numbers, once more in another order
WEIGHTS = [[0.0, 0, 0, 0], [0, 0, 9, 0], [0, 0, 0, 0]]
"""Everything hangs on the patch in row 1, column 2: rows 4 to 7 and columns 8 to 11 of 12 × 16 pixels."""


@pytest.fixture
def model():
    return patch_sums([[weight - 0.1 for weight in row] for row in WEIGHTS])


class Explainer:
    """Stands in for `lignite.explain`: "occlusion" knows the weights, "saliency" their opposite, "random" nothing."""

    def __init__(self):
        self.explained = []
        self.fail = lambda method, row: None

    def __call__(self, model, rows, method, *, memory=None):
        found = []
        for row in rows:
            self.fail(method.name, row)
            self.explained.append((method.name, row.encoded.tokens.input))
            (known,) = oracle(model, [row])
            blind = np.random.default_rng(int(row.encoded.tensors["pixel_values"].sum() * 1000)).standard_normal(13)
            found.append({"occlusion": known, "saliency": -known, "random": blind}[method.name])
        return [xr.Dataset({"relevance": ("token", relevance)}, attrs={"kind": "explain"}) for relevance in found]


@pytest.fixture
def explainer(monkeypatch):
    stand_in = Explainer()
    monkeypatch.setattr(units, "explain_rows", stand_in)
    return stand_in


def picture(seed=0, *, size=(12, 16), there=255):
    """A dim random image with a bright patch where the model looks."""
    image = np.random.default_rng(seed).integers(40, 90, (*size, 3)).astype(np.uint8)
    image[4:8, 8:12] = there
    return image


def outline(top=4, left=8, bottom=8, right=12, size=(12, 16)):
    return mask_from_boxes([[top, left, bottom, right]], size)


OBJECT, ELSEWHERE = outline(), outline(0, 0, 4, 8)


def rows_of(n=3, **columns):
    return [
        {"id": f"p{number}", "image": picture(number), "label": "bright", "mask": OBJECT, "distractor": ELSEWHERE}
        | columns
        for number in range(n)
    ]


def means(evaluation, metric, fill=""):
    table = evaluation.table
    return table[(table["metric"] == metric) & (table["fill"] == fill)].set_index("method")["mean"].to_dict()


# Numbers


def test_the_oracle_leads_every_metric(model, explainer):
    """Planted evidence: whoever names the patch that decides comes first, whoever denies it last."""
    told = evaluate(
        model, rows_of(6, cells=["dark", "bright", "dark", "dark"]), "occlusion,saliency", label="label", mask="mask",
        distractor="distractor", cells="cells", explain_label=True,
    )  # fmt: skip

    assert not len(told.skipped)
    compared = [name for name in told.table["metric"].unique() if METRICS[name].better and name != "seconds"]
    assert {"positive-perturbation", "deletion", "relevance-mass", "distractor-mass", "grid-pointing-game"} <= {
        *compared
    }
    for name in set(compared) - {"completeness-gap"}:
        sign = 1 if METRICS[name].better == "higher" else -1
        found = means(told, name, "black" if METRICS[name].per_fill else "")
        # least relevant first, one bright patch is the last to go, whoever ranks it anywhere above the last tenth
        ranked = {method: sign * value for method, value in found.items() if value == value}
        assert ranked["occlusion"] == max(ranked.values()), name
        if "saliency" in ranked:
            assert ranked["occlusion"] > ranked["saliency"], name
    assert means(told, "relevance-mass")["occlusion"] == 1
    assert means(told, "pointing-game")["occlusion"] == 1
    assert means(told, "untouched-accuracy")["random"] == 1


@pytest.mark.parametrize("smooth", [False, True])
def test_scores_are_those_of_the_measures_for_each_image_alone(model, explainer, smooth):
    """Each number is found again under the name of its example, method and fill."""
    options = {"fills": ("black", "grey"), "steps": 4, "smooth": smooth, "mask": "mask", "distractor": "distractor"}
    told = evaluate(model, rows_of(3), "occlusion", [*list(choose_metrics(None, reads="image", evidence=("mask",))),
        "deletion-pixels", "positive-perturbation-patches", "object-share", "mean-iou"], **options)  # fmt: skip

    scores = told.scores.set_index(["id", "method", "metric", "fill"])["value"]
    assert len(scores) == len(scores.index.unique())
    for number in range(3):
        (row,) = ask(model, [picture(number)])
        for method in ("occlusion", "random"):
            relevance = explainer(model, [row], METHODS[method]())[0]["relevance"].values
            names = {"steps": 4, "fills": ("black", "grey"), "parts": ("curves", "bins", "perturbation")}
            patches, pixels = (
                faithfulness(model, [row], [relevance], pixelwise=pixelwise, **names).isel(method=0, example=0)
                for pixelwise in (False, True)
            )
            boxes = np.array([[-1] * 4] + [[4 * y, 4 * x, 4 * y + 4, 4 * x + 4] for y in range(3) for x in range(4)])
            located = localization(enlarge(relevance, boxes, (12, 16), smooth=smooth), OBJECT, distractor=ELSEWHERE)
            for fill in ("black", "grey"):
                at = patches.sel(fill=fill), pixels.sel(fill=fill)
                expected = {
                    "deletion": at[0].deletion.sel(output="probability"),
                    "comprehensiveness": at[0].comprehensiveness.sel(output="probability"),
                    "log-odds": at[0].log_odds,
                    "deletion-pixels": at[1].deletion.sel(output="probability"),
                    "positive-perturbation": at[1].positive_perturbation,
                    "negative-perturbation": at[1].negative_perturbation,
                    "positive-perturbation-patches": at[0].positive_perturbation,
                }
                for name, value in expected.items():
                    assert_allclose(scores[f"p{number}", method, name, fill], float(value), **EXACT, err_msg=name)
            for name, source in (
                ("pointing-game", "pointing_game"), ("relevance-mass", "relevance_mass"), ("mean-iou", "mean_iou"),
                ("relevance-rank", "relevance_rank"), ("pixel-accuracy", "pixel_accuracy"), ("iou", "iou"),
                ("pixel-average-precision", "average_precision"), ("object-share", "object_share"),
            ):  # fmt: skip
                assert_allclose(scores[f"p{number}", method, name, ""], located[source], **EXACT, err_msg=name)


def test_perturbation_counts_the_true_label_where_it_is_known(model, explainer):
    """Accuracy is of the truth: an image that is called wrong starts at 0, whatever it is explained as."""
    rows = [*rows_of(2), *rows_of(1, id="wrong", label="dark"), *rows_of(1, id="unknown", label=None)]

    told = evaluate(model, rows, "occlusion", "positive-perturbation,untouched-accuracy", label="label")

    untouched = told.scores[told.scores["metric"] == "untouched-accuracy"].set_index(["id", "method"])["value"]
    assert [untouched[name, "occlusion"] for name in ("p0", "p1", "wrong", "unknown")] == [1, 1, 0, 1]
    assert means(told, "untouched-accuracy") == {"occlusion": 0.75, "random": 0.75}
    assert told.attrs["accuracy"] == pytest.approx(2 / 3)


def test_accuracy_curves_stand_at_the_published_shares(model, explainer):
    """0, 10 … 90 % of the pixels, whatever the steps of the other curves."""
    told = evaluate(model, rows_of(2), "occlusion", "deletion,positive-perturbation,negative-perturbation", steps=4)

    curves = told.curves.set_index(["method", "curve", "measure"])
    assert_allclose(curves.loc[("occlusion", "positive-perturbation", "accuracy"), "share"], np.arange(10) / 10)
    assert_allclose(curves.loc[("occlusion", "deletion", "probability"), "share"], np.arange(5) / 4)
    positive = curves.loc[("occlusion", "positive-perturbation", "accuracy"), "mean"].to_numpy()
    area = 0.1 * (positive[0] / 2 + positive[1:9].sum() + positive[9] / 2)
    assert_allclose(means(told, "positive-perturbation", "black")["occlusion"], area, **EXACT)


def test_an_evaluation_of_images_is_shown_and_kept(model, explainer, tmp_path):
    """The page, the picture and the file of everything know the new metrics."""
    told = evaluate(model, rows_of(2), "occlusion", mask="mask")
    told.save(tmp_path / "all.json")

    again = lignite.Evaluation.open(tmp_path / "all.json")

    pd.testing.assert_frame_equal(again.curves, told.curves)
    assert "positive-perturbation" in evaluation_html(again)
    panels = draw_curves(again).axes
    assert [panel.get_ylabel() for panel in panels] == ["probability", "", "accuracy", ""]
    assert panels[0].get_ylim() == panels[1].get_ylim()
    only = evaluate(model, rows_of(2), "occlusion", "negative-perturbation")
    labels = [axis.get_xlabel() for axis in draw_curves(only).axes]
    assert labels == [f"share of pixels removed, {which} relevant first" for which in ("most", "least")]


# Masks on their way


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessorPil(size={"height": 8, "width": 8}, resample=0),
        CLIPImageProcessorPil(size={"shortest_edge": 12}, crop_size={"height": 8, "width": 8}, resample=0),
    ],
    ids=["resized", "resized and cut"],
)
def test_a_mask_goes_the_way_of_its_image(processor):
    """An image that is its own mask: the mask arrives where the picture that the model sees is white."""
    model = lignite.wrap(patch_sums([[1.0, 1], [1, 1]]).network, image_processor=processor)
    shape = (40, 60)
    mask = np.zeros(shape, dtype=bool)
    mask[10:32, 21:44] = True
    (row,) = ask(model, [np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255])

    carried = carry(model, mask, shape, (8, 8), what="mask")

    assert_array_equal(carried, row.encoded.image[..., 0] > 127)
    assert 0 < carried.sum() < 64


def test_a_mask_of_what_the_model_sees_stays_as_it_is(model):
    """Where the image has another size, the mask may have either, and no third one."""
    found = carry(model, OBJECT, (24, 32), (12, 16), what="mask")

    assert_array_equal(found, OBJECT)
    assert_array_equal(carry(model, outline(8, 16, 16, 24, (24, 32)), (24, 32), (12, 16), what="mask"), OBJECT)
    with pytest.raises(
        InputError, match="has 9 × 9 pixels, the image 24 × 32, and the picture that the model sees 12 × 16"
    ):
        carry(model, np.ones((9, 9), dtype=bool), (24, 32), (12, 16), what="mask")
    with pytest.raises(InputError, match="has 9 × 9 pixels, the picture that the model sees 12 × 16: give"):
        carry(model, np.ones((9, 9), dtype=bool), None, (12, 16), what="mask")


def test_boxes_are_given_in_the_pixels_of_the_image(model, explainer):
    """An image of twice the size: its box becomes the very mask, so every score is that of the mask."""
    big = np.kron(picture(), np.ones((2, 2, 1), dtype=np.uint8))
    options = {"methods": "occlusion", "metrics": "relevance-mass,iou,relevance-rank"}

    by_box = evaluate(model, [{"image": big, "where": [[8, 16, 16, 20], [8, 20, 16, 24]]}], boxes="where", **options)
    by_mask = evaluate(model, [{"image": big, "mask": OBJECT}], mask="mask", **options)

    pd.testing.assert_frame_equal(by_box.scores, by_mask.scores)


@pytest.mark.parametrize(
    ("mode", "values"),
    [("1", [[0, 1]]), ("L", [[0, 7]]), ("P", [[0, 3]]), ("RGB", [[[0, 0, 0], [0, 9, 0]]]),
     ("RGBA", [[[0, 0, 0, 255], [0, 9, 0, 0]]]), ("LA", [[[0, 255], [3, 255]]]), ("I;16", [[0, 256]])],
)  # fmt: skip
def test_what_is_not_zero_in_a_picture_is_marked(mode, values, tmp_path):
    """In any colour; transparency marks nothing, or every picture that has it would be all object."""
    kinds = {"1": bool, "I;16": np.uint16}
    drawn = Image.fromarray(np.array(values, dtype=kinds.get(mode, np.uint8)), None if mode in kinds else mode)
    drawn.save(tmp_path / "mask.png")

    assert_array_equal(read_outline(tmp_path / "mask.png"), [[False, True]])
    assert_array_equal(read_outline(drawn), [[False, True]])


def test_arrays_mark_what_is_not_zero():
    """Flags or class numbers."""
    assert_array_equal(read_outline(np.array([[0, 2, 1]])), [[False, True, True]])
    with pytest.raises(InputError, match=r"shape \(2, 2, 3\) and float64"):
        read_outline(np.ones((2, 2, 3)))


# Data sets of images


@pytest.fixture
def folder(tmp_path):
    """Two images with masks, and a list of them in a folder of its own."""
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    lines = []
    for number in range(2):
        Image.fromarray(picture(number)).save(tmp_path / f"data/pictures/p{number}.png")
        Image.fromarray(OBJECT).save(tmp_path / f"data/pictures/m{number}.png")
        lines.append({"image": f"pictures/p{number}.png", "mask": f"pictures/m{number}.png", "label": "bright"})
    (tmp_path / "data" / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pd.DataFrame(lines).to_csv(tmp_path / "data" / "list.csv", index=False)
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["list.jsonl", "list.csv"])
def test_paths_are_relative_to_the_file_that_names_them(model, explainer, folder, name, monkeypatch):
    """A data set that was moved as a whole still works, from wherever it is used."""
    monkeypatch.chdir(folder.parent.parent)

    told = evaluate(model, folder / name, "occlusion", "relevance-mass", mask="mask", label="label")

    assert not len(told.skipped)
    assert means(told, "relevance-mass")["occlusion"] == 1
    assert [name for _, name in explainer.explained[:2]] == ["p0.png", "p1.png"]


def test_a_folder_is_all_images_in_it(model, explainer, folder):
    """By their names; one that is damaged gets a line, and so does one that is no image, and the rest is done."""
    pictures = folder / "pictures"
    for number in range(2):
        (pictures / f"m{number}.png").unlink()
    (pictures / "p0b.png").write_bytes((pictures / "p0.png").read_bytes()[:80])
    (pictures / "empty.jpg").write_bytes(b"")
    (pictures / "notes.txt").write_text("no image")

    told = evaluate(model, str(pictures), "occlusion", "deletion")

    assert told.attrs["n_examples"] == 4
    assert told.scores["id"].unique().tolist() == ["p0.png", "p1.png"]
    assert told.skipped["id"].tolist() == ["empty.jpg", "p0b.png"]
    assert all("\n" not in reason and reason.count("png") + reason.count("jpg") for reason in told.skipped["reason"])
    (folder / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no example"):
        evaluate(model, folder / "nothing", "occlusion", "deletion")
    assert evaluate(model, pictures / "p0.png", "occlusion", "deletion").scores["id"].unique().tolist() == ["p0.png"]


def test_images_may_be_anything_that_explain_reads(model, explainer, folder):
    """Paths, pictures, arrays, tensors, alone or in a column."""
    path = folder / "pictures" / "p0.png"
    same = [str(path), path, Image.open(path), picture(0), {"image": picture(0)}]

    told = evaluate(model, same, "occlusion", "deletion")

    values = told.scores[told.scores["method"] == "occlusion"]["value"]
    assert_allclose(values, np.full(5, values.iloc[0]), **EXACT)


def test_every_bad_line_is_named_and_the_rest_is_done(model, explainer, folder):
    """One line each, which says what was wrong with which example."""
    (folder / "empty.png").write_bytes(b"")
    good = {"image": picture(), "mask": OBJECT, "distractor": ELSEWHERE}
    bad = {
        "missing image": {"image": "nowhere.png"},
        "missing mask": {"mask": "nowhere.png"},
        "broken mask": {"mask": folder / "empty.png"},
        "mask of another size": {"mask": np.ones((5, 6), dtype=bool)},
        "mask without object": {"mask": np.zeros((12, 16), dtype=bool)},
        "distractor without pixels": {"distractor": np.zeros((12, 16), dtype=bool)},
        "folder": {"image": folder / "pictures"},
    }
    rows = [{"id": name, **good, **wrong} for name, wrong in bad.items()]

    told = evaluate(model, [*rows, {"id": "good", **good}], "occlusion", mask="mask", distractor="distractor")

    assert told.scores["id"].unique().tolist() == ["good"]
    reasons = told.skipped.set_index("id")["reason"]
    words = {
        "missing image": "there is no image 'nowhere.png'",
        "missing mask": "there is no mask 'nowhere.png'",
        "broken mask": r"empty.png is empty \(0 bytes\)",
        "mask of another size": "the mask has 5 × 6 pixels, the picture that the model sees 12 × 16",
        "mask without object": "the mask is empty",
        "distractor without pixels": "the distractor is empty",
        "folder": "one",
    }
    for name, expected in words.items():
        assert re.search(expected, reasons[name]), (name, reasons[name])
        assert "\n" not in reasons[name]


def test_an_object_that_is_cut_off_is_no_object(explainer):
    """What stands outside the part that the image processor keeps cannot be found by anybody."""
    processor = CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    model = lignite.wrap(patch_sums([[1.0, 1], [1, 1]]).network, image_processor=processor)
    mask = outline(0, 0, 8, 3, (8, 24))

    told = evaluate(model, [{"image": picture(size=(8, 24)), "mask": mask}], "random", "iou", mask="mask")

    assert "no pixel of it is in the picture that the model sees" in told.skipped["reason"][0]


@pytest.mark.parametrize(
    ("columns", "wrong", "words"),
    [
        (
            {"cells": "cells"},
            {"cells": ["bright", "dark", "dark"]},
            r"cells are .*expected the classes of a mosaic.* 4 of",
        ),
        ({"cells": "cells"}, {"cells": "bright"}, "expected the classes of a mosaic"),
        ({"cells": "cells"}, {"cells": ["bright", "dark", "grey", "dark"]}, "'grey' is none of this model's classes"),
        ({"boxes": "boxes"}, {"boxes": [[1, 2, 3]]}, "boxes hold .1, 2, 3., expected"),
        ({"boxes": "boxes"}, {"boxes": [[5, 2, 3, 4]]}, "boxes hold .5, 2, 3, 4."),
        ({"boxes": "boxes"}, {"boxes": 7}, "boxes hold .7., expected"),
        ({"mask": "mask"}, {"mask": 3}, "column 'mask' holds a int, expected a path or a picture"),
        ({"mask": "outline"}, {}, "has no column 'outline', it has"),
        ({"image": "photo"}, {}, "has no column 'photo'"),
        ({"image": "image"}, {"image": ""}, "column 'image' is empty"),
    ],
)
def test_data_that_cannot_be_meant_is_refused_at_once(model, explainer, columns, wrong, words):
    """Before a model works for hours, and with the number of the example."""
    with pytest.raises(InputError, match=words):
        evaluate(model, [*rows_of(1), *rows_of(1, **{"cells": ["dark"] * 4, "boxes": [[0, 0, 1, 1]]} | wrong)][1:],
                 "occlusion", **columns)  # fmt: skip
    assert not explainer.explained


def test_boxes_beyond_the_image_get_a_line(model, explainer):
    """Only the image itself says where it ends."""
    told = evaluate(model, rows_of(1, boxes=[[0, 0, 13, 4]]), "occlusion", "iou", boxes="boxes")

    assert "the box [0, 0, 13, 4] does not fit a picture of 12 × 16" in told.skipped["reason"][0]


def test_cells_may_stand_in_a_csv(tmp_path, model, explainer):
    """As JSON, like every list there; a class that is in no cell has no share, and nor has an image without cells."""
    Image.fromarray(picture()).save(tmp_path / "p.png")
    cells = ['["dark", "bright", "dark", "dark"]', '["dark", "dark", "dark", "dark"]', ""]
    pd.DataFrame({"image": ["p.png"] * 3, "cells": cells}).to_csv(tmp_path / "list.csv")

    told = evaluate(model, tmp_path / "list.csv", "occlusion", "grid-pointing-game", cells="cells")

    values = told.scores[told.scores["method"] == "occlusion"]["value"].to_numpy()
    # the patch lies in rows 4 to 7 and columns 8 to 11: half of it in the upper right cell, half below
    assert_allclose(values, [0.5, np.nan, np.nan], **EXACT)


def test_every_class_of_a_mosaic_is_explained(model, explainer):
    """As the grid pointing game is published: the share of each class's own cells, one example per class."""
    asked = []
    explainer.fail = lambda method, row: asked.append((row.encoded.tokens.input, row.objective.name))
    rows = [*rows_of(1, cells=["dark", "bright", "dark", "bright"]), *rows_of(1, id="other", cells=["bright"] * 4)]

    told = evaluate(model, rows, "occlusion", "grid-pointing-game", cells="cells", explain_label=True)

    values = told.scores[told.scores["method"] == "occlusion"].set_index("id")["value"]
    # the oracle's patch is half in the second cell and half in the fourth, whichever class is asked about
    assert_allclose(values[["p0: dark", "p0: bright", "other: bright"]], [0, 1, 1], **EXACT)
    assert len({name for _, name in asked}) == 2
    assert told.attrs["n_examples"] == 3
    assert np.isnan(told.attrs["accuracy"])
    with pytest.raises(OptionError, match="leave target= out"):
        evaluate(model, rows, "occlusion", cells="cells", explain_label=True, target="dark")


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pair": "other"}, "pair='other' is for models of texts; patch sums reads images"),
        ({"rationale": "why"}, "rationale='why' is for models of texts"),
        ({"metrics": "token-f1"}, "metrics='token-f1' is for texts, and this model reads images"),
        ({"metrics": "max-sensitivity"}, "is for texts"),
        ({"metrics": "iou"}, "needs human evidence: name its column, mask=… or boxes=…"),
        ({"metrics": "distractor-mass", "mask": "mask"}, "mask=… or boxes=…, and distractor=…"),
        ({"metrics": "grid-pointing-game"}, "cells=…"),
        ({"mask": "mask", "boxes": "boxes"}, "mask= and boxes= both"),
        ({"distractor": "distractor"}, "distractor= needs"),
        ({"fills": "mask"}, "fills='mask' is not known; choose from 'others', 'blur', 'grey', 'black', 'mean'"),
        ({"fills": ()}, "fills is empty"),
    ],
)
def test_options_that_contradict_the_model_are_refused(model, explainer, options, words):
    """Columns and metrics of texts for a model of images, evidence that is not there."""
    with pytest.raises(OptionError, match=words):
        evaluate(model, rows_of(1), "occlusion", **options)


def test_a_model_of_texts_has_no_masks():
    """And no metric that needs a picture."""
    model = bag_of_words({"a": 1.0})

    with pytest.raises(OptionError, match="mask='mask' is for models of images; bag of words reads texts"):
        evaluate(model, ["a"], "occlusion", mask="mask")
    with pytest.raises(OptionError, match="smooth=True is for models of images"):
        evaluate(model, ["a"], "occlusion", smooth=True)
    with pytest.raises(OptionError, match="'positive-perturbation' is for images"):
        evaluate(model, ["a"], "occlusion", "positive-perturbation")


def test_metrics_of_texts_are_those_of_texts():
    """What a model of texts measures without being asked has not changed by what images need."""
    assert all(metric.reads != "image" for metric in choose_metrics(None, evidence=("rationale", "polarity")))
    images = choose_metrics(None, reads="image", evidence=("mask", "distractor", "cells"))
    assert all(metric.reads != "text" for metric in images)
    assert {"positive-perturbation", "negative-perturbation", "untouched-accuracy", "iou", "object-share"} <= {
        metric.name for metric in images
    }


def test_without_colours_images_are_blurred(explainer):
    """Where no image processor tells which value is black."""
    model = patch_sums(WEIGHTS, processor=False)

    with pytest.raises(OptionError, match="fills='grey' is a colour"):
        evaluate(model, [torch.rand(1, 3, 12, 16)], "occlusion", "deletion", fills="grey")
    told = evaluate(model, [torch.rand(1, 3, 12, 16, dtype=torch.float64)], "occlusion", "deletion")
    assert told.attrs["fills"] == ["blur"]
    assert told.attrs["n_examples"] == 1
    assert not len(told.skipped)


# Going on after a stop


def test_finished_images_are_found_again_by_what_they_show(model, explainer, folder):
    """Not by their names: moved and renamed files are not explained again; other pixels or another mask are."""
    options = {"mask": "mask", "label": "label", "resume": folder / "run.jsonl"}
    first = evaluate(model, folder / "list.jsonl", "occlusion", "iou", **options)
    n_first = len(explainer.explained)
    (folder / "pictures").rename(folder / "photos")
    lines = (folder / "list.jsonl").read_text().replace("pictures", "photos")
    (folder / "list.jsonl").write_text(lines)

    again = evaluate(model, folder / "list.jsonl", "occlusion", "iou", **options)
    assert len(explainer.explained) == n_first
    pd.testing.assert_frame_equal(again.scores, first.scores)

    Image.fromarray(outline(0, 0, 4, 4)).save(folder / "photos" / "m1.png")
    changed = evaluate(model, folder / "list.jsonl", "occlusion", "iou", **options)
    assert len(explainer.explained) == n_first + 2  # one image, two methods
    assert not changed.scores.equals(first.scores)


def test_a_smooth_run_does_not_go_on_from_one_with_edges(model, explainer, tmp_path):
    """Its numbers mean something else."""
    options = {"mask": "mask", "resume": tmp_path / "run.jsonl"}
    evaluate(model, rows_of(1), "occlusion", "iou", **options)

    with pytest.raises(FileError, match="smooth"):
        evaluate(model, rows_of(1), "occlusion", "iou", smooth=True, **options)


def test_an_example_of_a_text_keeps_its_key():
    """Files of finished work that exist must still fit: the key of a text is what it was."""
    (example,) = read_examples([{"text": "a b", "label": 1}], Columns(label="label"))

    assert example.key == sha256(b'["a b", null, 1, null, null]').hexdigest()[:24]


# With the real methods


@pytest.fixture(scope="module")
def vit():
    config = ViTConfig(
        image_size=12, patch_size=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=28,
        num_labels=3,
    )  # fmt: skip
    network = ViTForImageClassification(config).eval()
    randomize(network, seed=0, gains={})
    return lignite.wrap(network, image_processor=ViTImageProcessorPil(size={"height": 12, "width": 12}))


def test_real_methods_are_measured_on_a_real_architecture(vit):
    """Nothing stands in: explanations of a small ViT, measured by everything that images have."""
    rows = [{"image": picture(number, size=(24, 20)), "mask": outline(4, 4, 14, 12, (24, 20))} for number in range(2)]

    told = evaluate(vit, rows, "ca-lig,grad-cam,attention-rollout", mask="mask", fills=["blur", "black"], steps=3)

    assert not len(told.skipped)
    assert set(told.table["method"]) == {"ca-lig", "grad-cam", "attention-rollout", "random"}
    known = told.table[~told.table["metric"].isin(["completeness-gap"])]
    assert (known["n"] == 2).all()
    assert np.isfinite(known["mean"]).all()
    assert means(told, "completeness-gap")["ca-lig"] <= 1e-3


@pytest.mark.parametrize("outline", ["mask", "boxes"])
def test_typed_columns_of_images_reach_the_function(vit, outline, folder, tmp_path, monkeypatch):
    """Each under its own name."""
    asked = {}
    vit.network.save_pretrained(tmp_path / "model")

    def listen(model, examples, *, request, **options):
        asked.update(request.values())
        raise InputError("heard")

    monkeypatch.setattr(evaluations, "evaluate", listen)

    CliRunner().invoke(
        app,
        ["evaluate", str(folder), "-m", str(tmp_path / "model"), "--image", "a", f"--{outline}", "b",
         "--distractor", "c", "--cells", "e", "--smooth"],
    )  # fmt: skip

    names = ("image", outline, "distractor", "cells", "smooth")
    assert [asked[name] for name in names] == ["a", "b", "c", "e", True]


def test_the_command_measures_images(vit, folder, tmp_path):
    """From a saved model and a list of files to a table."""
    vit.network.save_pretrained(tmp_path / "model")
    vit.image_processor.save_pretrained(tmp_path / "model")

    said = CliRunner().invoke(
        app,
        ["evaluate", str(folder / "list.jsonl"), "-m", str(tmp_path / "model"), "--methods", "grad-cam",
         "--mask", "mask", "--metrics", "iou,negative-perturbation", "--smooth", "-o", str(tmp_path / "all.json")],
    )  # fmt: skip

    assert said.exit_code == 0, said.output
    told = lignite.Evaluation.open(tmp_path / "all.json")
    assert told.table[["method", "metric"]].to_numpy().tolist() == [
        [method, metric] for method in ("grad-cam", "random") for metric in ("negative-perturbation", "iou")
    ]
    assert (told.table["n"] == 2).all()

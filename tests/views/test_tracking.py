"""What a tracker of experiments holds afterwards is what the result says, read back from its own files."""

import numpy as np
import pytest
import torch
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import word_piece
from tests.kit.wide import wide

import lignite
from lignite.errors import InputError, OptionError
from lignite.views.explanation.picture import save_explanation_picture
from lignite.views.tracking import DPI

tensorboard = pytest.importorskip("tensorboard", reason="tensorboard is not installed")

TEXT = "A superb film, but thin."


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def why(model):
    return lignite.explain(model, TEXT, target="positive", method="ca-lig", n_steps=8, tol=0.5)


def written(folder):
    """Everything in the event files of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    every = {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
    return EventAccumulator(str(folder), size_guidance=every).Reload()


def to_tensorboard(folder, results, **how):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as tracker:
        lignite.log(results, tracker, **how)
    return written(folder)


def test_an_explanation_is_read_back_from_the_event_file(why, tmp_path):
    """Numbers are the result's own, of each layer all scores; the picture is one, the text says what a view says."""
    found = to_tensorboard(tmp_path, why, step=7)

    (logit,) = found.Scalars("lignite/logit")
    assert (logit.step, logit.value) == (7, pytest.approx(why.attrs["value"], rel=1e-6))
    assert found.Scalars("lignite/probability")[0].value == pytest.approx(float(why.probability[1]), rel=1e-6)
    speaks = [found.Scalars(f"lignite/{side}")[0].value for side in ("for", "against")]
    assert sum(speaks) == pytest.approx(float(why.relevance.sum()), rel=1e-5)  # words are sums of their tokens
    assert speaks[0] > 0 > speaks[1]
    for layer in why.layer.values:
        histogram = found.Histograms(f"lignite/layer {layer}")[0].histogram_value
        assert (histogram.num, histogram.sum) == (
            why.sizes["token"],
            pytest.approx(float(why.layer_relevance.sel(layer=layer).sum()), rel=1e-5),
        )
    text = found.Tensors("lignite/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.startswith("The model says negative")
    assert "For positive: superb +" in text
    assert "\n- thin: −1.30" in text


def test_the_picture_is_the_one_that_a_file_holds(why, tmp_path):
    """Pixel by pixel: the same drawing in another place."""
    from io import BytesIO

    from matplotlib import image

    found = to_tensorboard(tmp_path / "events", why)
    save_explanation_picture(why, tmp_path / "why.png", dpi=DPI)

    (shown,) = found.Images("lignite")
    drawn, saved = image.imread(BytesIO(shown.encoded_image_string)), image.imread(tmp_path / "why.png")
    assert np.array_equal(drawn, saved[..., :3])


def test_several_results_have_their_numbers_behind_the_name(model, why, tmp_path):
    """A fixed set of sentences makes a curve each."""
    found = to_tensorboard(tmp_path, [why, why], name="fixed", step=1)

    assert {"fixed/0/logit", "fixed/1/logit"} <= set(found.Tags()["scalars"])
    assert sorted(found.Tags()["images"]) == ["fixed/0", "fixed/1"]


def test_a_flow_says_what_tokens_keep_and_what_scores_miss(model, tmp_path):
    """The share that stays is the mean over targets; every layer has all its scores."""
    flow = lignite.flow(model, TEXT, maps="whole", n_steps=4, tol=0.5)
    found = to_tensorboard(tmp_path, flow)

    assert found.Tags()["images"] == ["lignite"]
    assert len(found.Tags()["histograms"]) == flow.sizes["layer"]
    histogram = found.Histograms("lignite/layer 2")[0].histogram_value
    assert histogram.sum == pytest.approx(float(flow.whole.sel(layer=2).sum()), rel=1e-4)
    assert "lignite/own share/layer 0" in found.Tags()["scalars"]


def test_an_evaluation_has_a_curve_for_every_mean(model, tmp_path):
    """What is compared over a training is the table."""
    table = lignite.evaluate(model, [TEXT, "A dull plot."], methods="random,saliency", metrics="deletion", fills="mask")
    found = to_tensorboard(tmp_path, table)

    for row in table.table.itertuples():
        assert found.Scalars(f"lignite/{row.metric}/{row.fill}/{row.method}")[0].value == pytest.approx(row.mean)
    text = found.Tensors("lignite/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.splitlines()[0] == "| method | deletion (mask) |"


class Recorder:
    """A tracker as accelerate hands them on, which keeps what it is given."""

    def __init__(self, name="recorder"):
        self.name, self.numbers, self.pictures = name, [], []

    def log(self, values, step=None):
        self.numbers.append((step, values))


class Album(Recorder):
    def log_images(self, values, step=None):
        self.pictures.append((step, values))


def test_other_trackers_get_numbers_and_pictures_where_they_take_them(why):
    """Numbers for all; Aim takes one picture under a name, the others a list."""
    plain, album, aim = Recorder(), Album(), Album("aim")
    accelerator = type("Accelerator", (), {"trackers": [plain, album, aim]})()

    lignite.log(why, accelerator, step=3)

    assert plain.numbers == album.numbers == aim.numbers
    ((step, numbers),) = plain.numbers
    assert (step, numbers["lignite/logit"]) == (3, pytest.approx(why.attrs["value"], rel=1e-6))
    assert all(type(value) is float for value in numbers.values())
    (_, many), (_, one) = album.pictures[0], aim.pictures[0]
    assert np.array_equal(many["lignite"][0], one["lignite"])
    assert one["lignite"].dtype == np.uint8


def test_a_tracker_of_accelerate_is_written_through(why, tmp_path):
    """Its TensorBoard is TensorBoard: histograms and text are not lost on the way."""
    tracking = pytest.importorskip("accelerate.tracking", reason="accelerate is not installed")
    from accelerate import PartialState

    PartialState()
    tracker = tracking.TensorBoardTracker("run", tmp_path)
    tracker.start()

    lignite.log(why, tracker, step=2)
    tracker.finish()

    assert written(tmp_path / "run").Tags()["histograms"] == [f"lignite/layer {layer}" for layer in why.layer.values]


@pytest.mark.parametrize(
    ("results", "tracker", "error", "message"),
    [
        (None, object(), OptionError, r"tracker= is a object; give a torch\.utils\.tensorboard\.SummaryWriter"),
        (None, type("A", (), {"trackers": []})(), OptionError, r"has no trackers: call accelerator\.init_trackers"),
        ("text", Recorder(), InputError, r"a result is an xarray\.Dataset, got str"),
        ([5], Recorder(), InputError, r"a result is an xarray\.Dataset, got int"),
    ],
)
def test_what_is_no_tracker_and_no_result_is_refused(why, results, tracker, error, message):
    """Given, and what would do."""
    with pytest.raises(error, match=message):
        lignite.log(why if results is None else results, tracker)


def trained(tmp_path, callback):
    """Weights after two steps of transformers' Trainer, evaluated after each."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from transformers import Trainer, TrainingArguments

    torch.manual_seed(5)
    tokenizer = word_piece()
    network = headed("bert", "BertForSequenceClassification", dtype=torch.float32, tokenizer=tokenizer).network
    rows = [{**tokenizer(text), "labels": label} for text, label in (("the plot was thin", 0), ("people says all", 1))]
    settings = TrainingArguments(
        str(tmp_path), max_steps=2, eval_strategy="steps", eval_steps=1, report_to="none", disable_tqdm=True,
        per_device_train_batch_size=2, save_strategy="no", use_cpu=True, seed=5, logging_strategy="no",
    )  # fmt: skip
    callbacks = [] if callback is None else [callback]
    Trainer(
        network, settings, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer, callbacks=callbacks
    ).train()
    return network.state_dict()


@pytest.mark.filterwarnings("ignore")  # of the trainer's own
@pytest.mark.parametrize("tracker", [None, *wide("given")])
def test_a_training_shows_its_evidence_and_goes_on_as_it_would(tmp_path, tracker):
    """Every evaluation explains the same text; weights are those of a training without it, to the bit."""
    given = None if tracker is None else Recorder()
    callback = lignite.ExplainCallback("the plot was thin", given, target=1, method="attnlrp")

    watched, alone = trained(tmp_path, callback), trained(tmp_path / "alone", None)

    assert all(torch.equal(watched[name], alone[name]) for name in alone)
    if given is None:
        shown = written(tmp_path / "runs" / "lignite").Scalars("lignite/logit")
        assert [each.step for each in shown] == [1, 2]
        assert shown[0].value != shown[1].value
    else:
        assert [step for step, _ in given.numbers] == [1, 2]


def test_a_callback_is_refused_before_the_training_begins():
    """Not after an hour, at the first evaluation."""
    with pytest.raises(OptionError, match="tracker= is a int"):
        lignite.ExplainCallback(TEXT, 5)
    with pytest.raises(InputError, match="nothing to explain"):
        lignite.ExplainCallback([])

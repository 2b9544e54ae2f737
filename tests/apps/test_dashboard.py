"""The dashboard without a browser: what it takes, what it computes, how it fails, what it draws."""

import io
import shutil
import sys
import threading

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image
from tests.kit.command_line import run
from tests.kit.headed_models import headed

import lignite
from lignite.apps.commands import dashboard as command
from lignite.apps.dashboard import effects, given, turns
from lignite.apps.dashboard.page import Offer
from lignite.errors import InputError, ModelError
from lignite.zoo import bundled

pytest.importorskip("streamlit", reason="the dashboard runs on streamlit")

TEXT = "A superb film, but thin."
SCRIPT = str(command.SCRIPT)


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def why(model):
    return lignite.explain(model, TEXT, method="occlusion", baseline="mask")


# What is given


def test_a_text_that_is_too_long_is_refused_whole():
    """A text that was cut would be explained as if it were the reader's."""
    with pytest.raises(InputError, match="20,001 characters"):
        given.as_input("a" * 20_001)


def test_the_longest_text_stays_as_it_was_typed():
    """Blanks at its ends are the reader's, too."""
    text = " " + "a" * (given.MOST_CHARACTERS - 1)

    assert given.as_input(text) == text


def test_more_texts_than_anybody_waits_for_are_refused():
    """The message says how many are too many."""
    with pytest.raises(InputError, match=f"{given.MOST_TEXTS + 1} texts"):
        given.as_texts("A film.\n" * (given.MOST_TEXTS + 1))


def test_a_flow_that_fills_the_memory_is_refused_before_it_is_computed():
    """Its size grows with the square of the tokens, and all who have the page open share one machine."""
    given.check_pairs(724, 724)
    given.check_pairs(100, 5_000)

    with pytest.raises(InputError, match="name at most 723 target tokens"):
        given.check_pairs(725, 725)


def as_png(side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)).save(file, "PNG")
    return file.getvalue()


def test_a_picture_is_read_as_it_was_dropped():
    """PNG loses nothing."""
    read = given.read_picture("photo.PNG", as_png())

    assert np.asarray(read).tobytes() == bytes(range(192))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("photo.png", b"\0" * (given.MOST_BYTES + 1), "photo.png has 10.0 MB"),
        ("photo.png", b"no picture", "photo.png is no image"),
        ("photo.png", as_png(64)[:100], "photo.png"),
        ("photo.svg", b"<svg onload='alert(1)'/>", "photo.svg is no picture"),
        ("photo.png", b"", "photo.png is empty"),
    ],
    ids=["large", "text", "cut", "svg", "empty"],
)
def test_a_file_that_is_no_picture_is_named_in_one_message(name, content, said):
    """Its own name, not that of the copy on this machine."""
    with pytest.raises(InputError, match=said) as raised:
        given.read_picture(name, content)

    assert "lignite-" not in str(raised.value)


# What words do


def test_words_keep_their_places_and_scores(why):
    """Sub-words of a word are taken away together, and its score is the sum of theirs."""
    words = effects.words_of(why)

    assert "".join(word.text for word in words) == TEXT.replace(" ", "")
    assert [place for word in words for place in word.places] == list(range(1, why.sizes["token"] - 1))
    for word in words:
        np.testing.assert_allclose(word.score, why.relevance.values[list(word.places)].sum(), rtol=1e-6)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_the_actual_effect_is_what_the_untouched_model_says_without_the_word(model, why, at):
    """The model itself, asked by hand with the mask in the word's place."""
    word = effects.words_of(why)[at]
    row = effects.asked_row(model, TEXT, None)
    ids = model.tokenizer(TEXT, return_tensors="pt")
    masked = {name: tensor.clone() for name, tensor in ids.items()}
    masked["input_ids"][0, list(word.places)] = model.tokenizer.mask_token_id
    with torch.no_grad():
        before, after = (model.network(**tensors).logits[0] for tensors in (ids, masked))
    label = int(before.argmax())

    (effect,) = effects.take_away(model, row, [[word]], "mask")

    np.testing.assert_allclose(effect.actual, float(before[label] - after[label]), atol=1e-5)
    np.testing.assert_allclose(effect.probability, float(before.softmax(0)[label]), atol=1e-6)
    np.testing.assert_allclose(effect.probability_without, float(after.softmax(0)[label]), atol=1e-6)


def test_occlusion_predicts_the_effect_of_a_mask_exactly(model, why):
    """Its score is that effect, token by token; words of one token therefore lie on the line."""
    words = [word for word in effects.words_of(why) if len(word.places) == 1]
    row = effects.asked_row(model, TEXT, None)

    found = effects.take_away(model, row, [[word] for word in words], "mask")

    np.testing.assert_allclose([each.predicted for each in found], [each.actual for each in found], atol=1e-5)
    assert effects.rank_correlation(found) == pytest.approx(1.0)


def test_several_words_are_taken_away_at_once(model, why):
    """Their scores are added, and the model is asked once without all of them."""
    words = effects.words_of(why)[:2]
    row = effects.asked_row(model, TEXT, None)

    (together,) = effects.take_away(model, row, [words], "mask")
    apart = effects.take_away(model, row, [[word] for word in words], "mask")

    assert together.words == (words[0].text, words[1].text)
    np.testing.assert_allclose(together.predicted, sum(each.predicted for each in apart))
    assert abs(together.actual - apart[0].actual) > 1e-6


def test_the_place_that_answers_is_not_offered_to_be_taken_away():
    """Without the token that a decoder reads last there is no next one."""
    model, asked = headed("gpt2", "GPT2LMHeadModel"), lignite.Target(token=7)
    row = effects.asked_row(model, "a superb film", asked)
    words = effects.words_of(lignite.explain(model, "a superb film", method="gradient-x-input", target=asked))

    offered = effects.movable(row, words)

    assert row.objective.position == 7
    assert [word for word in words if word not in offered] == [word for word in words if 7 in word.places] != []


def test_only_fills_that_a_model_has_are_offered(model):
    """A decoder without a mask token cannot mask; drawn words need a corpus."""
    texts = effects.fills_of(model, effects.asked_row(model, TEXT, None))
    digits = lignite.load("tiny-digits")
    picture = Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8))
    images = effects.fills_of(digits, effects.asked_row(digits, picture, None))

    assert texts == ("mask", "delete", "hide", "pad")
    assert "black" in images
    assert "mask" not in images


def test_scores_without_a_unit_are_known_as_such(model, why):
    """Attention weights say nothing of logits, so no effect is predicted from them."""
    summed = lignite.explain(model, TEXT, method="ig", baseline="mask")
    rollout = lignite.explain(model, TEXT, method="attention-rollout")
    tripled = summed.assign(relevance=3 * summed.relevance)

    assert effects.adds_up(summed)
    assert not effects.adds_up(rollout)
    assert not effects.adds_up(tripled)  # tells from where to where, and not by which word how far


# Whose turn it is


def test_a_reader_who_no_longer_waits_ends_the_computation(model):
    """The model is as it was, and the next reader's turn has come."""

    class Gone(BaseException):
        pass

    def tick(waiting):
        raise Gone

    before = lignite.explain(model, TEXT)
    learning = [weight.requires_grad for weight in model.network.parameters()]

    with pytest.raises(Gone), turns.turn(tick):
        lignite.explain(model, TEXT)

    assert not turns.TURN.locked()
    assert [weight.requires_grad for weight in model.network.parameters()] == learning
    assert sys.getprofile() is None
    xr.testing.assert_identical(lignite.explain(model, TEXT), before)


@pytest.mark.parametrize("method", ["ig", "gradient-x-input", "attention-rollout", "occlusion", "shapley"])
def test_every_method_can_be_given_up(model, method):
    """Some run the model once and compute long beside it."""
    seen: list[str] = []

    with turns.turn(seen.append):
        lignite.explain(model, TEXT, method=method)

    assert seen


def test_computing_under_watch_changes_no_number(model):
    """Who looks on is no part of the model."""
    with turns.turn(lambda _: None):
        watched = lignite.explain(model, TEXT)

    assert sys.getprofile() is None
    xr.testing.assert_identical(watched, lignite.explain(model, TEXT))


def test_readers_compute_one_after_the_other_and_are_told_that_they_wait(model):
    """Models are shared by all sessions."""
    told: list[str] = []

    def ask():
        with turns.turn(told.append):
            pass

    with turns.turn(lambda _: None):
        other = threading.Thread(target=ask)
        other.start()
        other.join(3 * turns.PATIENCE)
        waited = other.is_alive()
    other.join(5)

    assert waited
    assert not other.is_alive()
    assert any("waiting" in each for each in told)


# How it is started


def test_without_streamlit_one_line_says_what_to_install(monkeypatch, plain_terminal):
    """The extra is a choice."""
    monkeypatch.setattr(command, "find_spec", lambda name: None)

    result = run("dashboard")

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "install lignite[dashboard]" in result.stderr


@pytest.fixture
def served(monkeypatch):
    """What Streamlit would be started with."""
    from streamlit.web import bootstrap

    found: dict = {}
    monkeypatch.setattr(bootstrap, "load_config_options", lambda options: None)
    monkeypatch.setattr(
        bootstrap, "run", lambda script, hello, arguments, options: found.update(options, arguments=arguments)
    )
    return found


def test_it_listens_on_this_machine_alone_and_tells_nobody(served):
    """Texts that people try may be private."""
    result = run("dashboard", "--no-open")

    assert result.exit_code == 0, result.stderr
    assert served["server_address"] == "localhost"
    assert served["browser_gatherUsageStats"] is False
    assert served["server_showEmailPrompt"] is False
    assert "localhost" in served["server_allowedHosts"]
    assert served["arguments"] == ["any"]


def test_others_choose_among_the_named_models_alone(served):
    """Whoever reaches the machine from elsewhere shall not read its folders, or fill its disk from the hub."""
    run("dashboard", "tiny-digits", "--host", "0.0.0.0", "--no-open")
    closed = served["arguments"]
    run("dashboard", "--host", "0.0.0.0", "--any-model", "--no-open")

    assert closed == ["listed", "tiny-digits"]
    assert served["arguments"] == ["any"]


def test_a_port_that_is_taken_is_one_message(served, plain_terminal):
    """Streamlit would print a traceback, or take another one in silence."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("dashboard", "--host", "127.0.0.1", "--port", taken.getsockname()[1], "--no-open")

    assert result.exit_code == 2
    assert "name another one" in result.stderr
    assert served == {}


def test_the_named_models_stand_before_the_bundled_ones():
    """The first is shown when the page opens."""
    assert Offer.read(["listed", "./mine", "tiny-digits"]).names == ["./mine", "tiny-digits", "tiny-sentiment"]
    assert Offer.read(["any"]).names == ["tiny-sentiment", "tiny-digits"]


# What it draws


@pytest.fixture(autouse=True)
def own_main(monkeypatch):
    """A script that Streamlit runs becomes the main module, which processes of later tests would begin with."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def page(monkeypatch):
    """The dashboard as one reader has it."""
    from streamlit.testing.v1 import AppTest

    def opened(*arguments):
        monkeypatch.setattr(sys, "argv", [SCRIPT, *(arguments or ("any",))])
        return AppTest.from_file(SCRIPT, default_timeout=120).run()

    return opened


def shown(page) -> list[str]:
    """Pages and cards on it."""
    return [element.proto.srcdoc for element in page.get("iframe")]


def switch(page, view: str) -> None:
    next(each for each in page.button_group if each.label == "View").set_value(view).run()


def messages(page) -> list[str]:
    return [each.value.replace("\\", "") for each in page.error]


def test_it_opens_with_an_explanation(page):
    """The first thing that a reader sees is what the tool does."""
    opened = page()

    assert not opened.exception
    assert messages(opened) == []
    assert "The model says negative" in shown(opened)[0]


@pytest.fixture
def other(tmp_path):
    """Another model that reads texts, as a folder."""
    folder = tmp_path / "other"
    shutil.copytree(bundled()["tiny-sentiment"], folder)
    return str(folder)


def test_a_text_typed_while_another_model_loads_is_asked_of_it(page, other):
    """Both reach the server at once: the field in which it was typed is the last model's, and is gone."""
    opened = page("any", "tiny-sentiment", other)
    opened.text_area[0].set_value("A superb film.")
    opened.selectbox[0].set_value(other).run()

    assert messages(opened) == []
    assert opened.text_area[0].value == "A superb film."
    assert "superb film" in shown(opened)[0]


def test_the_example_of_a_model_is_not_asked_of_another(page, other):
    """Nobody typed it."""
    opened = page("any", "tiny-sentiment", other)

    opened.selectbox[0].set_value(other).run()

    assert opened.text_area[0].value == ""
    assert shown(opened) == []


def test_another_class_is_explained_when_it_is_chosen(page, model):
    """And it is what the library says of that class."""
    opened = page()
    classes = next(each for each in opened.button_group if each.label == "Answer to explain")

    classes.set_value(1).run()

    dataset = opened.session_state["history"][-1][1]
    expected = lignite.explain(model, opened.text_area[0].value, target=1)
    np.testing.assert_array_equal(dataset.relevance, expected.relevance)


def test_a_word_taken_away_shows_both_effects(page):
    """Predicted beside actual."""
    opened = page()
    words = next(each for each in opened.button_group if each.label == "Without")

    words.set_value([3]).run()

    assert {metric.label for metric in opened.metric} >= {"Predicted effect", "Actual effect"}
    assert opened.metric[0].value == "−1.70"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/nowhere/to/be/found", "there is no folder /nowhere/to/be/found"),
        ("tiny-sentimant", "Did you mean"),
        ("../../etc/passwd\x1b[31m<img src=x onerror=alert(1)>", "there is no folder"),
    ],
)
def test_a_model_that_is_not_there_is_one_message(page, name, said):
    """No traceback, and nothing half drawn behind it."""
    opened = page("any", name)

    assert not opened.exception
    assert len(messages(opened)) == 1
    assert said in messages(opened)[0]


def test_a_model_that_is_not_offered_is_refused_whatever_the_browser_sends():
    """A list on a page holds nobody back."""
    from lignite.apps.dashboard.state import load_offered

    with pytest.raises(ModelError, match="not offered here"):
        load_offered("/etc", ("tiny-sentiment",), free=False)


def test_text_that_is_markup_stays_text(page):
    """Nothing that a reader types is run, loaded or drawn."""
    opened = page()
    hostile = "<script>alert(1)</script> ![x](http://example.com/x.png) superb"

    opened.text_area[0].set_value(hostile).run()

    assert messages(opened) == []
    assert "<script>alert" not in shown(opened)[0]
    assert "alert" in shown(opened)[0]
    for group in opened.button_group:
        assert not any("![" in label.content or "](http" in label.content for label in group.proto.options)


def test_a_text_longer_than_the_model_reads_is_one_message(page):
    """Never cut in silence."""
    opened = page()

    opened.text_area[0].set_value("superb " * 400).run()

    assert len(messages(opened)) == 1
    assert "256" in messages(opened)[0]
    assert not shown(opened)


def test_contradicting_options_are_one_message(page):
    """The words are the library's own."""
    opened = page()
    next(each for each in opened.checkbox if each.label == "Ends").check()
    next(each for each in opened.selectbox if each.label == "Orders").set_value(True).run()

    assert len(messages(opened)) == 1
    assert "orders=False" in messages(opened)[0]


def test_a_new_text_is_asked_what_the_model_says_of_it(page, model):
    """A class that stayed chosen from the text before would be explained against the verdict."""
    opened = page()

    opened.text_area[0].set_value("A superb film.").run()

    xr.testing.assert_identical(opened.session_state["history"][-1][1], lignite.explain(model, "A superb film."))


def test_what_nobody_expected_is_one_message_too(page, monkeypatch):
    """It says what happened, and no traceback reaches the reader."""
    from lignite.apps.dashboard import question

    def fail(*args, **options):
        raise KeyError("[link](http://example.com)")

    monkeypatch.setattr(question, "explain", fail)

    opened = page()

    assert not opened.exception
    assert len(messages(opened)) == 1
    assert "KeyError" in messages(opened)[0]
    assert "](http" not in opened.error[0].value


def test_sessions_do_not_mix(page):
    """Models are shared; what somebody typed is not."""
    first, second = page(), page()

    first.text_area[0].set_value("My own secret film.").run()
    second.run()

    assert "secret" not in str(second.session_state["history"])
    assert "secret" in str(first.session_state["history"])


def test_models_are_loaded_once_for_all_sessions(page, monkeypatch):
    """Two copies of a large one do not fit; code that comes with a model is never run."""
    from lignite.apps.dashboard import state

    loaded: list[tuple[str, dict]] = []
    load = state.load
    monkeypatch.setattr(
        state, "load", lambda name, **options: (loaded.append((name, options)), load(name, **options))[1]
    )
    state.load_model.clear()

    page()
    page()

    assert loaded == [("tiny-sentiment", {"trust_remote_code": False})]


def test_flow_history_and_comparison_are_drawn(page):
    """Every view answers."""
    opened = page()
    switch(opened, "Flow")
    assert messages(opened) == []
    assert "lignite <span>flow" in shown(opened)[0]
    switch(opened, "Compare")
    assert messages(opened) == []
    assert [page.count("The model says negative") > 0 for page in shown(opened)[:2]] == [True, True]
    assert len(shown(opened)) == 3
    switch(opened, "History")
    assert len(opened.selectbox(key="past").options) == 3


def test_another_text_stands_beside_the_first(page, model):
    """It begins as that one, so that one word can be changed; method and model stay."""
    opened = page()
    switch(opened, "Compare")
    next(each for each in opened.button_group if each.label == "What differs").set_value(["Text"]).run()
    beside = next(each for each in opened.text_area if each.label == "Text beside it")
    text = opened.text_area[0].value
    begins_as = beside.value

    beside.set_value(text.replace("superb", "dull")).run()

    first, *_, second = (dataset for _, dataset in opened.session_state["history"])
    assert begins_as == text
    xr.testing.assert_identical(first, lignite.explain(model, text))
    xr.testing.assert_identical(second, lignite.explain(model, text.replace("superb", "dull")))
    assert "superb" in shown(opened)[2]
    assert "dull" in shown(opened)[2]


def test_a_session_keeps_the_newest_results_within_its_bounds(monkeypatch):
    """The number of flows alone would let one reader fill the memory; what is looked at stays, whatever its size."""
    from lignite.apps.dashboard import state

    monkeypatch.setattr(state.st, "session_state", {})
    monkeypatch.setattr(state, "MOST_RESULTS", 3)
    monkeypatch.setattr(state, "MOST_BYTES", 100)

    def keep(*sizes: int) -> list[str]:
        for size in sizes:
            state.remember(xr.Dataset({"a": ("x", np.zeros(size, dtype=np.int8))}), str(size))
        return [label for label, _ in state.history()]

    assert keep(10, 20, 30, 40) == ["40", "30", "20"]
    assert keep(50) == ["50", "40"]
    assert keep(500) == ["500"]


def test_an_option_has_one_widget_made_from_its_field(page):
    """A method of one's own is asked for its options like any other; nothing is listed twice."""
    from streamlit.testing.v1 import AppTest

    def script():
        from dataclasses import dataclass
        from typing import Literal

        import streamlit as st

        from lignite.apps.dashboard.fields import ask_options
        from lignite.options import Options, option

        @dataclass(frozen=True, kw_only=True)
        class Toy(Options):
            many: int = option(4, "How many.")
            share: float = option(0.5, "Which share.")
            way: Literal["near", "far"] = option("near", "Which way.")
            loud: bool = option(False, "Whether it is loud.")
            left: bool | None = option(None, "Left open, it is neither on nor off.")

        st.session_state["asked"] = ask_options(Toy, "toy")

    made = AppTest.from_function(script).run()
    untouched = made.session_state["asked"]
    made.number_input(key="toy.many").set_value(7)
    made.text_input(key="toy.share").set_value("0.25")
    made.selectbox(key="toy.way").set_value("far")
    made.checkbox(key="toy.loud").check()
    made.selectbox(key="toy.left").set_value(False).run()

    assert untouched == {}
    assert made.session_state["asked"] == {"many": 7, "share": 0.25, "way": "far", "loud": True, "left": False}

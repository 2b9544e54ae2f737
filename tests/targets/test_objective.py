"""What is explained: every way of asking means the number it says, and what cannot be asked is refused in one line."""

import re

import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import word_piece

import lignite
from lignite.errors import InputError, LigniteError, ModelError, OptionError
from lignite.targets.ask import ask, predict
from lignite.targets.target import Target

TEXT = "the plot was thin"
IDS = dict(word_piece().get_vocab())
NAMED = {"id2label": {0: "bad", 1: "Neither", 2: "good"}, "label2id": {"bad": 0, "Neither": 1, "good": 2}}

ROUNDED = {"rtol": 0, "atol": 1e-12}
"""Float64; a batch of one is the same computation."""


def classifier(**options) -> lignite.Model:
    return headed("bert", "BertForSequenceClassification", **(NAMED | options))


def outputs_of(model: lignite.Model, text=TEXT, **options):
    with torch.no_grad():
        given = text if isinstance(text, tuple) else (text,)
        segments = hasattr(model.config, "type_vocab_size")  # GPT-2 would take them for words
        return model.network(**model.tokenizer(*given, return_tensors="pt", return_token_type_ids=segments), **options)


def value_and_name(model, target, inputs=TEXT):
    (row,) = ask(model, inputs, target)
    return float(predict(model, [row]).value), row.objective.name


# One answer for the input


def test_by_default_the_predicted_class_is_explained():
    """With its name, its logit and its probability."""
    model = classifier()
    logits = outputs_of(model).logits[0]

    (row,) = ask(model, TEXT)

    answer = predict(model, [row])
    best = int(logits.argmax())
    assert (row.objective.index, row.objective.name) == (best, ("bad", "Neither", "good")[best])
    assert_allclose(answer.value, logits[best], **ROUNDED)
    assert_allclose(answer.probability, logits.softmax(0)[best], **ROUNDED)
    assert int(answer.label) == best
    assert row.choices.names == ("bad", "Neither", "good")
    assert_allclose(row.choices.logit, logits, **ROUNDED)
    assert_allclose(row.choices.probability, logits.softmax(0), **ROUNDED)
    assert row.choices.best == row.objective.name


@pytest.mark.parametrize(
    "target", ["Neither", "neither", "NEITHER", 1, "1", Target(label="neither"), Target(label=1)], ids=str
)
def test_a_class_goes_by_name_or_number(target):
    """Names in any case; numbers also as text, as command lines give them."""
    model = classifier()

    assert_allclose(value_and_name(model, target)[0], outputs_of(model).logits[0, 1], **ROUNDED)
    assert value_and_name(model, target)[1] == "Neither"


@pytest.mark.parametrize("target", [("good", "bad"), (2, 0), ("good", 0), Target(label="good", against="bad")], ids=str)
def test_a_pair_of_classes_is_the_difference_of_their_logits(target):
    """And its probability that of the two alone: softmax over a pair."""
    model = classifier()
    logits = outputs_of(model).logits[0]

    (row,) = ask(model, TEXT, target)

    assert row.objective.name == "good against bad"
    assert_allclose(predict(model, [row]).value, logits[2] - logits[0], **ROUNDED)
    assert_allclose(predict(model, [row]).probability, logits[[2, 0]].softmax(0)[0], **ROUNDED)


def test_names_that_differ_in_case_alone_are_told_apart():
    """Exact names come first, and nothing is guessed between two."""
    model = classifier(id2label={0: "us", 1: "US", 2: "x"}, label2id={"us": 0, "US": 1, "x": 2})

    assert ask(model, TEXT, "US")[0].objective.index == 1
    with pytest.raises(OptionError, match="'Us' is none of this model's classes"):
        ask(model, TEXT, "Us")


def test_a_class_whose_name_is_a_number_is_found_by_name_first():
    """Star ratings: "1" is the class called so, 1 the class at that place."""
    model = classifier(id2label={0: "1", 1: "2", 2: "3"}, label2id={"1": 0, "2": 1, "3": 2})

    assert ask(model, TEXT, "1")[0].objective.index == 0
    assert ask(model, TEXT, 1)[0].objective.index == 1


def test_where_several_labels_may_hold_each_has_its_own_probability():
    """Sigmoids, not a softmax; the label says whether the explained one holds."""
    model = classifier(problem_type="multi_label_classification")
    logits = outputs_of(model).logits[0]

    for number in range(3):
        (row,) = ask(model, TEXT, number)
        answer = predict(model, [row])
        assert_allclose(answer.value, logits[number], **ROUNDED)
        assert_allclose(answer.probability, logits[number].sigmoid(), **ROUNDED)
        assert int(answer.label) == int(logits[number] > 0)
        assert_allclose(row.choices.probability, logits.sigmoid(), **ROUNDED)


@pytest.mark.parametrize("options", [{"num_labels": 1}, {"problem_type": "regression"}], ids=["one", "named"])
def test_a_regression_has_a_value_and_no_probability(options):
    """One number without a class is a regression; so is what calls itself one."""
    model = headed("bert", "BertForSequenceClassification", **options)

    (row,) = ask(model, TEXT, 0)

    answer = predict(model, [row])
    assert_allclose(answer.value, outputs_of(model).logits[0, 0], **ROUNDED)
    assert answer.probability.isnan().all()
    assert answer.label.tolist() == [-1]
    assert row.choices.best == ""


def test_a_function_of_the_output_is_explained_as_it_is():
    """Any number per input, of anything the model returns, for many inputs at once."""
    model = classifier()

    def margin(outputs):
        return outputs.logits[:, 2] - outputs.logits[:, :2].logsumexp(1)

    rows = ask(model, [TEXT, "people"], margin)

    answer = predict(model, rows)
    expected = [margin(outputs_of(model, text)) for text in (TEXT, "people")]
    assert_allclose(answer.value, torch.cat(expected), **ROUNDED)
    assert [row.objective.name for row in rows] == ["margin", "margin"]
    assert answer.probability.isnan().all()
    assert answer.label.tolist() == [-1, -1]


def test_a_pair_of_texts_is_one_input():
    """The second with its own segment."""
    model = classifier()

    (row,) = ask(model, (TEXT, "all was acting"), 1)

    assert_allclose(predict(model, [row]).value, outputs_of(model, (TEXT, "all was acting")).logits[0, 1], **ROUNDED)


# An answer at every token


def test_a_token_has_a_class_of_its_own():
    """Named or predicted; places count from the end, too."""
    model = headed("bert", "BertForTokenClassification", **NAMED)
    logits = outputs_of(model).logits[0]

    for token, place in ((2, 2), (-2, 4)):
        (row,) = ask(model, TEXT, Target(token=token))
        assert (row.objective.kind, row.objective.position) == ("token-class", place)
        assert row.objective.index == int(logits[place].argmax())
        assert_allclose(predict(model, [row]).value, logits[place].max(), **ROUNDED)
        (row,) = ask(model, TEXT, Target(token=token, label="good", against="bad"))
        assert_allclose(predict(model, [row]).value, logits[place, 2] - logits[place, 0], **ROUNDED)
    assert row.objective.name == "good against bad at 'thin' (4)"


@pytest.mark.parametrize("part", ["start", "end"])
def test_an_answer_starts_and_ends_at_a_token(part):
    """The likeliest place, or the one that is named."""
    model = headed("bert", "BertForQuestionAnswering", num_labels=2)
    pair = ("was it thin", "the plot was thin")
    logits = getattr(outputs_of(model, pair), f"{part}_logits")[0]

    (likeliest,) = ask(model, pair, Target(part=part))
    (named,) = ask(model, pair, Target(part=part, token=6))

    assert likeliest.objective.position == int(logits.argmax())
    assert_allclose(predict(model, [likeliest]).value, logits.max(), **ROUNDED)
    assert_allclose(predict(model, [named]).value, logits[6], **ROUNDED)
    assert_allclose(predict(model, [named]).probability, logits.softmax(0)[6], **ROUNDED)
    assert named.objective.name == f"{part} at 'plot' (6)"


def test_by_default_an_answer_is_explained_by_its_start():
    """Of the two that the model gives."""
    model = headed("bert", "BertForQuestionAnswering", num_labels=2)

    assert ask(model, ("was it", TEXT))[0].objective.part == "start"


@pytest.mark.parametrize(
    ("name", "model_class"), [("bert", "BertForMaskedLM"), ("distilbert", "DistilBertForMaskedLM")]
)
def test_a_masked_word_is_found_by_its_mask(name, model_class):
    """The likeliest word there, a word by name, two words against each other, or any place by its number."""
    model = headed(name, model_class)
    text = "the [MASK] was thin"
    logits = outputs_of(model, text).logits[0]

    (best,) = ask(model, text)
    (named,) = ask(model, text, "plot")
    (pair,) = ask(model, text, ("plot", "acting"))
    (elsewhere,) = ask(model, text, Target(token=1, label="the"))

    assert [row.objective.position for row in (best, named, pair, elsewhere)] == [2, 2, 2, 1]
    values = predict(model, [best, named, pair, elsewhere]).value
    expected = [
        logits[2].max(),
        logits[2, IDS["plot"]],
        logits[2, IDS["plot"]] - logits[2, IDS["acting"]],
        logits[1, IDS["the"]],
    ]
    assert_allclose(values, expected, rtol=0, atol=1e-12)
    assert named.objective.name == "'plot' at '[MASK]' (2)"


@pytest.mark.parametrize(("name", "model_class"), [("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM")])
def test_the_next_token_is_asked_for_at_the_last_one(name, model_class):
    """Likeliest, named, by id, or one against another; in the middle with token=."""
    model = headed(name, model_class)
    logits = outputs_of(model).logits[0]
    last = len(logits) - 1

    rows = [
        *ask(model, TEXT),
        *ask(model, TEXT, "plot"),
        *ask(model, TEXT, IDS["plot"]),
        *ask(model, TEXT, ("plot", "acting")),
        *ask(model, TEXT, Target(label="plot", token=2)),
    ]

    plot, acting = IDS["plot"], IDS["acting"]
    expected = [
        logits[-1].max(), logits[-1, plot], logits[-1, plot], logits[-1, plot] - logits[-1, acting], logits[2, plot]
    ]  # fmt: skip
    assert_allclose(predict(model, rows).value, expected, rtol=0, atol=1e-12)
    assert [row.objective.position for row in rows] == [last, last, last, last, 2]
    assert [row.objective.name for row in rows[1:3]] == ["'plot'", "'plot'"]  # next needs no place to be named
    assert rows[4].objective.name.startswith("'plot' after ")


def test_of_a_vocabulary_the_likeliest_and_the_explained_are_listed():
    """Thousands of choices help nobody."""
    model = headed("gpt2", "GPT2LMHeadModel")
    logits = outputs_of(model).logits[0, -1]
    worst = int(logits.argmin())

    (row,) = ask(model, TEXT, worst)

    assert len(row.choices.names) == 11
    assert_allclose(row.choices.logit[:10], logits.topk(10).values, **ROUNDED)
    assert_allclose(row.choices.logit[10], logits[worst], **ROUNDED)
    assert_allclose(row.choices.probability[10], logits.softmax(0)[worst], **ROUNDED)
    assert row.choices.best == repr(model.tokenizer.decode([int(logits.argmax())]))


@pytest.mark.parametrize(("name", "model_class"), [("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM")])
def test_each_step_of_a_continuation_is_what_the_model_generates(name, model_class):
    """Greedy, one row per token, each with the text and all tokens before it."""
    model = headed(name, model_class)
    tensors = model.tokenizer(TEXT, return_tensors="pt")
    start = tensors["input_ids"].shape[1]
    generated = model.network.generate(
        tensors["input_ids"], attention_mask=tensors["attention_mask"], max_new_tokens=4, do_sample=False,
        eos_token_id=None,
    )[0]  # fmt: skip

    rows = ask(model, TEXT, Target(steps=4))

    assert [row.objective.index for row in rows] == generated[start:].tolist()
    for step, row in enumerate(rows):
        assert row.encoded.tensors["input_ids"][0].tolist() == generated[: start + step].tolist()
        assert row.objective.position == start + step - 1
        assert row.encoded.tokens.input == TEXT
    assert_allclose(predict(model, rows[:1]).value, outputs_of(model).logits[0, -1].max(), **ROUNDED)


def test_a_decoder_that_classifies_reads_its_last_word():
    """Padding beside it is not that word."""
    model = headed("gpt2", "GPT2ForSequenceClassification", **NAMED)
    logits = [outputs_of(model, text).logits[0] for text in (TEXT, "people says")]

    rows = ask(model, [TEXT, "people says"], "good")

    assert_allclose(predict(model, rows).value, [each[2] for each in logits], rtol=0, atol=1e-12)


def test_of_an_encoder_decoder_the_next_token_after_the_decoders_is_explained():
    """By the encoder's tokens: its states are those that lignite follows."""
    model = headed("bart", "BartForConditionalGeneration")
    tensors = {**model.tokenizer(TEXT, return_tensors="pt"), "decoder_input_ids": torch.tensor([[2, 7, 9]])}
    tensors.pop("token_type_ids")
    with torch.no_grad():
        logits = model.network(**tensors).logits[0]

    (row,) = ask(model, tensors)
    (earlier,) = ask(model, tensors, Target(token=1, label="plot"))

    assert_allclose(predict(model, [row]).value, logits[2].max(), **ROUNDED)
    assert_allclose(predict(model, [earlier]).value, logits[1, IDS["plot"]], **ROUNDED)


# What cannot be asked


def message_of(model, inputs, target) -> str:
    with pytest.raises(LigniteError) as caught:
        lignite.explain(model, inputs, target=target)
    return str(caught.value)


CLASSES = re.escape("0 'bad', 1 'Neither', 2 'good'")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, f"class 3 is outside this model's classes: {CLASSES}"),
        (-1, f"class -1 is outside this model's classes: {CLASSES}"),
        ("goood", f"'goood' is none of this model's classes: {CLASSES}.* Did you mean 'good'"),
        ("3", f"'3' is none of this model's classes: {CLASSES}"),
        (("good", "good"), "label and against are both 'good'"),
        (("good", "ugly"), "'ugly' is none of this model's classes"),
        (Target(token=2), "token=2 belongs to models that answer at every token; BertForSequenceClassification"),
        (Target(part="end"), "part='end' belongs to question answering; BertForSequenceClassification is not"),
        (Target(steps=2), "steps=2 needs a model that continues texts; BertForSequenceClassification does not"),
        (lambda outputs: outputs.logits, r"returned a Tensor of shape \(1, 3\) and torch.float64 for an input"),
        (lambda outputs: 1.5, "returned a float 1.5 for an input"),
        (lambda outputs: outputs.logits.argmax(1), r"returned a Tensor of shape \(1,\) and torch.int64 for an input"),
    ],
)  # fmt: skip
def test_a_classifier_refuses_what_it_has_no_answer_for(target, message):
    """Given, expected, next step; in one line."""
    found = message_of(classifier(), TEXT, target)

    assert re.search(message, found), found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"against": "bad"}, "against='bad' needs label= beside it"),
        ({"token": True}, "token=True is a bool; give a whole number or None"),
        ({"part": "middle"}, "part='middle' is not known; choose from 'start', 'end'"),
        ({"steps": 0}, "steps=0 must be a whole number"),
        ({"steps": 2, "label": 1}, "steps= explains what the model itself continues with"),
        ({"steps": 2, "token": 1}, "steps= explains what the model itself continues with"),
    ],
)
def test_a_target_that_contradicts_itself_is_refused(arguments, message):
    """Before any model is asked."""
    with pytest.raises(OptionError, match=message):
        Target(**arguments)


def test_what_is_no_target_is_refused():
    """True is a number to Python, and no class to anybody."""
    with pytest.raises(OptionError, match="target=True is not understood: give a label or its number, a pair of them"):
        ask(classifier(), TEXT, True)


@pytest.mark.parametrize("token", [6, 99, -7])
@pytest.mark.parametrize(
    ("name", "model_class"),
    [("bert", "BertForTokenClassification"), ("bert", "BertForQuestionAnswering"), ("gpt2", "GPT2LMHeadModel"),
     ("bert", "BertForMaskedLM")],
)  # fmt: skip
def test_a_position_outside_the_text_is_refused(name, model_class, token):
    """With those that are inside."""
    model = headed(name, model_class, num_labels=2)

    found = message_of(model, TEXT, Target(token=token))

    assert found == f"token={token} is not in this input, whose tokens are 0 to 5."


def test_padding_is_no_place_to_ask_at():
    """It is in the tensors, not in the text."""
    model = headed("bert", "BertForTokenClassification")
    tensors = model.tokenizer(TEXT, padding="max_length", max_length=9, return_tensors="pt")

    found = message_of(model, dict(tensors), Target(token=7))

    assert found == "token=7 is not in this input, whose tokens are 0 to 5."


def test_token_classes_need_a_token():
    """There is one answer each; the message numbers them."""
    found = message_of(headed("bert", "BertForTokenClassification"), TEXT, None)

    assert "name one, target=lignite.Target(token=…), among 0 '[CLS]', 1 'the', 2 'plot'" in found


@pytest.mark.parametrize(("text", "count"), [("the plot", 0), ("the [MASK] was [MASK]", 2)])
def test_there_is_one_mask_or_a_place_is_named(text, count):
    """Which word is asked for must be plain."""
    found = message_of(headed("bert", "BertForMaskedLM"), text, None)

    assert found.startswith(f"the input holds {count} tokens [MASK]; write one, or name the token")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("acting thin", r"'acting thin' is 2 tokens \('acting', 'thin'\) to this model, and a logit belongs to one"),
        ("", r"'' is 0 tokens \(\) to this model"),
        (999, "token id 999 is outside the vocabulary, 0 to"),
        (Target(part="start"), "part='start' belongs to question answering; GPT2LMHeadModel is not"),
        (("plot", "plot"), "are both \"'plot'\"; their difference is always zero"),
    ],
)
def test_a_language_model_refuses_what_is_no_token(target, message):
    """A logit belongs to one token of its vocabulary."""
    found = message_of(headed("gpt2", "GPT2LMHeadModel"), TEXT, target)

    assert re.search(message, found), found


def test_text_needs_a_tokenizer_and_its_id_does_not():
    """A model wrapped alone."""
    whole = headed("gpt2", "GPT2LMHeadModel")
    model = lignite.wrap(whole.network)
    tensors = {"input_ids": torch.tensor([[5, 6, 7]])}

    with pytest.raises(OptionError, match="'plot' needs a tokenizer to become a token; give its id"):
        ask(model, tensors, "plot")
    assert ask(model, tensors, 9)[0].objective.name == "9"


def test_an_answer_is_a_place_not_a_word():
    """Question answering has no classes."""
    model = headed("bert", "BertForQuestionAnswering", num_labels=2)

    assert message_of(model, ("was it", TEXT), "plot").startswith("label='plot': an answer is a place in the text")


def test_a_model_without_a_head_has_nothing_to_explain():
    """But for a function of what it returns."""
    model = headed("bert", "BertModel")

    with pytest.raises(
        ModelError, match=r"BertModel returns no logits, so there is no prediction to explain.*function"
    ):
        ask(model, TEXT)
    (row,) = ask(model, TEXT, lambda outputs: outputs.pooler_output[:, 3])
    assert predict(model, [row]).value.isfinite().all()


@pytest.mark.parametrize(
    ("name", "model_class"), [("bart", "BartForConditionalGeneration"), ("t5", "T5ForConditionalGeneration")]
)
def test_an_encoder_decoder_says_what_it_needs(name, model_class):
    """A text alone does not say what the decoder has written."""
    model = headed(name, model_class)

    with pytest.raises(
        InputError, match="writes its answer with a decoder: give tensors with input_ids and decoder_input_ids"
    ):
        ask(model, TEXT)
    tensors = {"input_ids": torch.tensor([[5, 6, 7]]), "decoder_input_ids": torch.tensor([[0, 8]])}
    with pytest.raises(OptionError, match="token=2 is not among the decoder's tokens, 0 to 1"):
        ask(model, tensors, Target(token=2))
    with pytest.raises(OptionError, match="steps=2 needs a model that continues texts"):
        ask(model, tensors, Target(steps=2))


def test_an_encoder_decoder_that_classifies_needs_no_decoder_tokens():
    """It feeds its decoder with the text itself."""
    model = headed("bart", "BartForSequenceClassification")
    tensors = model.tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False)

    (row,) = ask(model, TEXT, 1)

    with torch.no_grad():
        assert_allclose(predict(model, [row]).value, model.network(**tensors).logits[0, 1], **ROUNDED)


def test_an_answer_that_is_not_a_number_is_named():
    """An overflow explains nothing."""
    model = classifier()
    with torch.no_grad():
        model.network.classifier.bias[1] = torch.inf

    assert "The model's answer for 'the plot was thin' is inf" in message_of(model, TEXT, 1)

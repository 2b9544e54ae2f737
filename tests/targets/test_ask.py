"""Many inputs at once: the same numbers as one at a time, and inputs edited exactly where they were asked to be."""

from typing import Any

import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import byte_level, word_piece
from torch import Tensor, nn

import lignite
from lignite.errors import InputError, OptionError
from lignite.targets.ask import ask, predict
from lignite.targets.edits import filler, remove_tokens, reorder_tokens, replace_tokens
from lignite.targets.rows import Row, batches, bytes_per_token, can_pad, collate
from lignite.targets.target import Target

TEXTS = ["the plot was thin", "people", "nothing at all but acting it says", "was it thin", "plot"]
"""Lengths in no order, one of them twice."""

HEADS = [
    ("bert", "BertForSequenceClassification", None),
    ("bert", "BertForTokenClassification", Target(token=1)),
    ("bert", "BertForQuestionAnswering", Target(token=1)),
    ("gpt2", "GPT2LMHeadModel", None),
    ("gpt2", "GPT2ForSequenceClassification", None),
    ("llama", "LlamaForCausalLM", None),
    ("llama", "LlamaForSequenceClassification", None),
    ("deberta-v2", "DebertaV2ForSequenceClassification", None),
    ("modernbert", "ModernBertForSequenceClassification", None),
    ("mamba", "MambaForCausalLM", None),
    ("bart", "BartForSequenceClassification", None),
]
"""Heads that read one place, every place, or the last word; state spaces hand padding on unless it comes last."""

SINGLE = {"rtol": 0, "atol": 1e-5}
"""Float32 sums in another order, of logits of order one."""


def alone(model: lignite.Model, rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    answers = [predict(model, [row]) for row in rows]
    return tuple(torch.cat([getattr(each, name) for each in answers]) for name in ("value", "probability", "label"))


@pytest.mark.parametrize("memory", ["1 kB", "30 kB", "1 GiB"])
@pytest.mark.parametrize(("name", "model_class", "target"), HEADS)
def test_a_batch_gives_what_each_row_gives_alone(name, model_class, target, memory):
    """Whatever is padded, sorted and split; in the order that was given."""
    model = headed(name, model_class, dtype=torch.float32, num_labels=2 if "Question" in model_class else 3)
    rows = ask(model, TEXTS, target)

    together = predict(model, rows, memory=memory)

    value, probability, label = alone(model, rows)
    assert_allclose(together.value, value, **SINGLE)
    assert_allclose(together.probability, probability, **SINGLE)
    assert together.label.tolist() == label.tolist()


@pytest.mark.parametrize(("name", "model_class", "target"), HEADS)
def test_what_is_asked_does_not_depend_on_the_batch(name, model_class, target):
    """The default target is each input's own prediction."""
    model = headed(name, model_class, num_labels=2 if "Question" in model_class else 3)

    together = ask(model, TEXTS, target)

    for text, row in zip(TEXTS, together, strict=True):
        (other,) = ask(model, text, target)
        assert (row.objective.index, row.objective.position) == (other.objective.index, other.objective.position)
        assert_allclose(row.choices.logit, other.choices.logit, rtol=0, atol=1e-10)


class Averaging(transformers.PreTrainedModel):
    """Ignores the attention mask, as careless models do: padding changes its answer."""

    config_class = transformers.BertConfig
    main_input_name = "input_ids"

    def __init__(self, config: transformers.BertConfig):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, 3)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, return_dict: bool = True) -> Any:
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=self.table(input_ids).mean(1))


def test_rows_that_padding_would_change_are_not_padded():
    """It is found out by trial; then only rows of one length share a batch."""
    tokenizer = word_piece()
    network = Averaging(transformers.BertConfig(vocab_size=len(tokenizer), num_labels=3)).eval()
    model = lignite.wrap(network, tokenizer)

    rows = ask(model, TEXTS, 1)

    assert not can_pad(model, rows)
    lengths = [{rows[place].n_tokens for place in places} for places in batches(model, rows, 1e9)]
    assert all(len(each) == 1 for each in lengths)
    assert len(lengths) == 4
    assert_allclose(predict(model, rows).value, alone(model, rows)[0], **SINGLE)


@pytest.mark.parametrize("model_class", ["GPT2ForSequenceClassification", "LlamaForSequenceClassification"])
def test_classifiers_on_decoders_without_a_padding_token_are_asked_by_length(model_class):
    """They refuse batches; with rows of one length there is nothing to pad, and the setting stays as it was."""
    tokenizer = word_piece()
    tokenizer.pad_token = None
    model = headed("gpt2" if "GPT2" in model_class else "llama", model_class, tokenizer=tokenizer)

    rows = ask(model, TEXTS, 1)

    assert_allclose(predict(model, rows).value, alone(model, rows)[0], rtol=0, atol=1e-10)
    assert model.config.pad_token_id is None


def test_batches_hold_what_fits_and_rows_of_similar_length():
    """Padding is work for nothing; a row that is too long for the limit still runs, alone."""
    model = headed("bert", "BertForSequenceClassification")
    rows = ask(model, TEXTS)

    found = list(batches(model, rows, 12.0))

    assert [row.n_tokens for row in rows] == [6, 3, 9, 5, 3]
    assert found == [[1, 4], [3, 0], [2]]
    assert list(batches(model, rows, 1.0)) == [[1], [4], [3], [0], [2]]


def test_inputs_of_different_kinds_do_not_share_a_batch():
    """A row with position numbers of its own cannot stand beside one without."""
    model = headed("bert", "BertForSequenceClassification")
    (plain,) = ask(model, TEXTS[0])
    tensors = dict(plain.encoded.tensors)
    (numbered,) = ask(model, {**tensors, "position_ids": torch.arange(7, 7 + plain.n_tokens)[None]})

    answer = predict(model, [plain, numbered])

    assert_allclose(answer.value, alone(model, [plain, numbered])[0], rtol=0, atol=1e-12)
    assert abs(answer.value[0] - answer.value[1]) > 1e-3


def test_padding_of_the_users_own_is_no_choice_of_an_answer():
    """Its logit is a number like others; an answer does not start there."""
    model = headed("bert", "BertForQuestionAnswering", num_labels=2)
    tensors = dict(model.tokenizer(TEXTS[0], padding="max_length", max_length=9, return_tensors="pt"))
    with torch.no_grad():
        logits = model.network(**tensors).start_logits[0, :6]

    answer = predict(model, ask(model, tensors))

    assert int(answer.label) == int(logits.argmax())
    assert_allclose(answer.probability, logits.softmax(0).max(), rtol=0, atol=1e-12)


def test_memory_is_counted_by_what_a_model_is():
    """More with gradients, since every layer's are kept; more in double precision."""
    small = headed("bert", "BertForSequenceClassification", dtype=torch.float32)
    large = headed("bert", "BertForSequenceClassification")

    assert bytes_per_token(large, gradient=False) == 2 * bytes_per_token(small, gradient=False)
    assert bytes_per_token(small, gradient=True) == 3 * bytes_per_token(small, gradient=False)  # three layers


# Inputs edited


@pytest.fixture(scope="module")
def row() -> Row:
    """[CLS] the plot was thin [SEP]"""
    return ask(headed("gpt2", "GPT2LMHeadModel"), "the plot was thin", Target(token=3))[0]


def ids(row: Row) -> list[int]:
    return row.encoded.tensors["input_ids"][0].tolist()


def test_replaced_tokens_are_others_and_the_rest_stays(row):
    """Also the original, whose tensors are not touched."""
    before = ids(row)

    edited = replace_tokens(row, [1, 3], 9)

    assert ids(edited) == [before[0], 9, before[2], 9, *before[4:]]
    assert ids(row) == before
    assert edited.objective is row.objective
    assert edited.choices is None


def test_removed_tokens_leave_a_shorter_input(row):
    """The place that is asked about moves along, and so do all labels."""
    before = ids(row)

    edited = remove_tokens(row, [1, 4])

    assert ids(edited) == [before[0], before[2], before[3], before[5]]
    assert edited.objective.position == 2
    assert edited.encoded.tokens.text == ("[CLS]", "plot", "was", "[SEP]")
    assert edited.encoded.tokens.position == (0, 1, 2, 3)
    assert all(tensor.shape[1] == 4 for tensor in edited.encoded.tensors.values())
    assert (row.n_tokens, edited.n_tokens) == (6, 4)


def test_reordered_tokens_stand_where_the_order_says(row):
    """Place p holds what stood at order[p]; the question goes with its token."""
    before = ids(row)

    edited = reorder_tokens(row, [0, 3, 2, 1, 4, 5])

    assert ids(edited) == [before[place] for place in (0, 3, 2, 1, 4, 5)]
    assert edited.objective.position == 1
    assert edited.encoded.tokens.text[1] == "was"


def test_an_edited_input_is_answered_as_a_text_of_its_own():
    """The model sees what it would see of the shorter or shuffled text."""
    model = headed("bert", "BertForSequenceClassification")
    rows = ask(model, ["the plot was thin", "plot thin", "thin was plot the"], 2)

    shorter, shuffled = remove_tokens(rows[0], [1, 3]), reorder_tokens(rows[0], [0, 4, 3, 2, 1, 5])

    expected = predict(model, rows[1:]).value
    assert_allclose(predict(model, [shorter, shuffled]).value, expected, rtol=0, atol=1e-10)


def test_position_numbers_stay_with_their_places():
    """Words move; the first place is still the first, the user's own numbering included."""
    model = headed("bert", "BertForSequenceClassification")
    tensors = dict(model.tokenizer("the plot was thin", return_tensors="pt"))
    (row,) = ask(model, {**tensors, "position_ids": torch.arange(6)[None] + 4})

    shorter, shuffled = remove_tokens(row, [1]), reorder_tokens(row, [0, 4, 3, 2, 1, 5])

    assert shorter.encoded.tensors["position_ids"].tolist() == [[4, 5, 6, 7, 8]]
    assert shuffled.encoded.tensors["position_ids"].tolist() == [[4, 5, 6, 7, 8, 9]]


def test_an_answers_place_moves_with_its_token():
    """For a span the token is the choice itself."""
    model = headed("bert", "BertForQuestionAnswering", num_labels=2)
    (row,) = ask(model, "the plot was thin", Target(token=4))

    edited = remove_tokens(row, [1, 2])

    assert (edited.objective.position, edited.objective.index) == (2, 2)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: remove_tokens(row, [3]), r"the token at 3 cannot be removed: the model answers there"),
        (lambda row: remove_tokens(row, [6]), "place 6 is not in this input, whose tokens are 0 to 5"),
        (lambda row: replace_tokens(row, [-1], 3), "place -1 is not in this input"),
        (lambda row: reorder_tokens(row, [0, 0, 1, 2, 3, 4]), "the order must name each of the 6 tokens once"),
        (lambda row: reorder_tokens(row, [0, 1]), "the order must name each of the 6 tokens once"),
    ],
)
def test_edits_that_make_no_sense_are_refused(row, edit, message):
    """In one line."""
    with pytest.raises(InputError, match=message):
        edit(row)


def test_something_must_remain():
    """A text without tokens is none."""
    (row,) = ask(headed("bert", "BertForSequenceClassification"), "plot")

    with pytest.raises(InputError, match="all tokens of the input are removed"):
        remove_tokens(row, [0, 1, 2])


def test_an_image_has_no_words_to_replace():
    """Its patches are no tokens of a vocabulary."""
    network = transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8, patch_size=4
        )
    ).eval()
    (row,) = ask(lignite.wrap(network), {"pixel_values": torch.zeros(1, 3, 8, 8)})

    with pytest.raises(InputError, match=r"no tokens of a vocabulary \(input_ids\)"):
        replace_tokens(row, [1], 3)


def test_fillers_are_the_tokenizers_own():
    """And what it lacks is said, with what it has."""
    words, bytes_ = word_piece(), byte_level()
    model = headed("bert", "BertForSequenceClassification")
    other = headed("gpt2", "GPT2LMHeadModel", tokenizer=bytes_, n_positions=60)

    assert (filler(model, "mask"), filler(model, "pad")) == (words.mask_token_id, words.pad_token_id)
    with pytest.raises(OptionError, match="has no mask token to put in the place of words: use 'pad'"):
        filler(other, "mask")
    bytes_.pad_token = None
    with pytest.raises(
        OptionError, match=r"has no mask token.*neither mask nor pad can be used; words can only be removed"
    ):
        filler(other, "mask")


def test_collated_rows_keep_what_is_theirs():
    """Shorter rows are padded on the right with the padding id, masked, and of the first segment."""
    model = headed("bert", "BertForSequenceClassification")
    rows = ask(model, ["plot", "the plot was thin"])

    tensors = collate(model, rows)

    assert tensors["input_ids"].shape == (2, 6)
    assert tensors["input_ids"][0, 3:].tolist() == [0, 0, 0]
    assert tensors["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert not tensors["token_type_ids"].any()

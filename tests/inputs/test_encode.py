"""Tensors reach the model as they were given: its own answer to them is the one that is explained."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import byte_level, sentence_piece, word_piece
from tokenizers import processors
from torch.testing import assert_close
from transformers import ByT5Tokenizer, GPT2Config, GPT2ForSequenceClassification

import lignite
from lignite.errors import InputError, OptionError
from lignite.inputs.encode import encode
from lignite.targets.ask import ask, predict
from lignite.targets.edits import replace_tokens

TEXT = "the plot was thin, but acting was superb"


@pytest.fixture(scope="module")
def model():
    return headed("bert", "BertForSequenceClassification", max_position_embeddings=40)


def own_answer(model, given):
    with torch.no_grad():
        return model.network(**given).logits[0]


def hidden(given):
    given["attention_mask"][0, 3] = 0
    return given


def hidden_in_decimals(given):
    return {**given, "attention_mask": hidden(given)["attention_mask"].double()}


def padded_left(given):
    """Three pads in front: BERT counts them among its positions."""
    front = {"input_ids": 0, "token_type_ids": 0, "attention_mask": 0}
    return {name: torch.nn.functional.pad(tensor, (3, 0), value=front[name]) for name, tensor in given.items()}


def counted_otherwise(given):
    return {**given, "position_ids": torch.arange(20, 20 + given["input_ids"].shape[1])[None]}


def of_two_segments(given):
    given["token_type_ids"][0, 5:] = 1
    return given


@pytest.mark.parametrize("edit", [hidden, hidden_in_decimals, padded_left, counted_otherwise, of_two_segments])
def test_tensors_are_explained_as_the_model_answers_them(model, edit):
    """Nothing is counted, shifted or dropped on the way: masks with holes, padding in front, positions, segments."""
    given = edit(dict(model.tokenizer(TEXT, return_tensors="pt")))

    why = lignite.explain(model, given, target=1, method="saliency")

    assert_close(why.value, own_answer(model, given)[1].item(), rtol=1e-5, atol=1e-6)  # float32
    encoded = encode(model, given)[0].tensors
    assert encoded.keys() == given.keys()


@pytest.mark.parametrize(
    "convert",
    [
        lambda tensor: tensor.tolist(),
        lambda tensor: tensor[0].tolist(),
        lambda tensor: tensor.numpy(),
        lambda tensor: [tensor[0].numpy()],
        lambda tensor: [tensor[0]],
        lambda tensor: tensor.int(),
        lambda tensor: tensor.bool() if tensor.max() == 1 and tensor.min() == 1 else tensor,
    ],
    ids=["lists", "one-list", "array", "list-of-arrays", "list-of-tensors", "int32", "bool-mask"],
)
def test_numbers_may_come_in_any_container(model, convert):
    """The same numbers are the same input."""
    given = dict(model.tokenizer(TEXT, return_tensors="pt"))

    (encoded,) = encode(model, {**{name: convert(tensor) for name, tensor in given.items()}, "position_ids": None})

    assert encoded.tensors.keys() == given.keys()
    for name, tensor in given.items():
        assert_close(encoded.tensors[name], tensor, rtol=0, atol=0)


def test_rows_of_several_lengths_are_several_inputs(model):
    """Tokenizers return lists of lists without padding; each row is read with its own words."""
    texts = ["the plot", TEXT, "thin"]

    encoded = encode(model, model.tokenizer(texts))

    alone = [encode(model, text)[0] for text in texts]
    for row, other in zip(encoded, alone, strict=True):
        assert row.tokens.word == other.tokens.word
        assert_close(row.tensors, other.tensors, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"attention_mask": [[1, 0.5, 1]]}, r"attention_mask holds 0\.5: give 1 for every token to read"),
        ({"attention_mask": [[0.0, 0.0, -3e38]]}, "attention_mask holds -3"),
        ({"attention_mask": [[[[1, 1, 1]] * 3]]}, "one number per token"),
        ({"token_type_ids": [[0, 0, 7]]}, "token_type_ids from 0 to 7 are not 0 to 1"),
        ({"position_ids": [[0, 1, 40]]}, "position_ids from 0 to 40 are not 0 to 39"),
        ({"position_ids": [[-1, 0, 1]]}, "position_ids from -1 to 1"),
        ({"position_ids": [[0.0, 1, 2]]}, "whole numbers"),
        ({"input_ids": [[True, True, False]]}, "whole numbers"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.complex64)}, "whole numbers"),
        ({"input_ids": [[5, 6, 2**70]]}, "no tensor"),
        ({"input_ids": [[5, 6], [7]], "attention_mask": [[1, 1]]}, "number of rows"),
    ],
)
def test_numbers_that_the_model_cannot_read_are_refused(model, edit, message):
    """Before they fail deep in a table, or are read as something else than they mean."""
    with pytest.raises(InputError, match=message) as caught:
        encode(model, {"input_ids": [[5, 6, 7]], **edit})

    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def unresized():
    """GPT-2 with a padding token that was added to its tokenizer alone, as forum answers advise."""
    tokenizer = byte_level()
    size = len(tokenizer)
    tokenizer.pad_token = None
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    torch.manual_seed(0)
    sizes = {"n_embd": 12, "n_layer": 2, "n_head": 2, "n_positions": 40, "num_labels": 2}
    config = GPT2Config(vocab_size=size, bos_token_id=0, eos_token_id=0, **sizes)
    return lignite.wrap(GPT2ForSequenceClassification(config).eval(), tokenizer)


def test_a_token_that_the_model_cannot_read_is_never_chosen(unresized):
    """Its id lies outside the embeddings: a baseline, a filler or padding of it would crash, on a GPU for good."""
    why = lignite.explain(unresized, "thin dull film", method="ig", tol=0.1)
    several = lignite.explain(unresized, ["thin dull film", "dull"], method="saliency")

    assert '"baseline": ["mean-embedding"]' in why.request  # which needs no token
    alone = lignite.explain(unresized, "dull", method="saliency")
    assert_close(several[1].value, alone.value, rtol=1e-5, atol=1e-6)  # float32


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: lignite.explain(model, "thin film", baseline="pad"),
        lambda model: lignite.flow(model, "thin film", baseline="pad"),
        lambda model: lignite.explain(model, "thin film", method="shapley", baseline="pad"),
        lambda model: lignite.evaluate(model, ["thin film"], methods=("random",), fills="pad"),
    ],
)
def test_a_token_that_the_model_cannot_read_is_refused_by_name(unresized, ask):
    """With what makes room for it."""
    with pytest.raises(OptionError, match=r"cannot read its tokenizer's pad token '\[PAD\]'.*resize_token_embeddings"):
        ask(unresized)


def test_a_text_with_a_token_that_the_model_cannot_read_is_refused_by_name(unresized):
    """The id alone would send the user looking for another tokenizer."""
    with pytest.raises(InputError, match=r"token '\[PAD\]' \(\d+\) is outside.*resize_token_embeddings"):
        encode(unresized, "thin[PAD]")


WORDS = ["the", "superb", "plot", "wasn't", "3.14", "thin", "."]


def apart(tokens):
    """The letters of every word, by its number."""
    found = {}
    for piece, word in zip(tokens.text, tokens.word, strict=True):
        if word >= 0:
            found[word] = found.get(word, "") + piece.replace("##", "").strip("Ġ▁")
    return found


@pytest.mark.parametrize("make_tokenizer", [word_piece, byte_level, sentence_piece, ByT5Tokenizer])
@pytest.mark.parametrize("as_encoding", [False, True])
def test_words_told_apart_before_stay_the_words(make_tokenizer, as_encoding):
    """Labels of words (named entities, parts of speech) belong to the words of their corpus, not to ours."""
    tokenizer = make_tokenizer()
    if as_encoding and not tokenizer.is_fast:
        pytest.skip("a slow tokenizer tells no words")
    encoding = tokenizer(WORDS, is_split_into_words=True)
    model = headed("gpt2", "GPT2LMHeadModel", tokenizer=tokenizer, n_positions=60)

    given = {name: encoding[name] for name in ("input_ids", "attention_mask")}
    if as_encoding:
        given = encoding
        given.pop("token_type_ids", None)
    else:
        given = {"words": WORDS}
    (encoded,) = encode(model, given)

    if tokenizer.is_fast:
        assert list(encoded.tokens.word) == [-1 if word is None else word for word in encoding.word_ids()]
    assert apart(encoded.tokens) == dict(enumerate(WORDS))
    assert encoded.tensors["input_ids"].tolist() == [encoding["input_ids"]]
    if not as_encoding:
        assert encoded.tokens.input == " ".join(WORDS)


def test_words_of_a_pair_are_counted_on(model):
    """Numbers begin anew in a tokenizer's second text; here a number is one word of the whole input."""
    pair = (["thin", "plot"], ["was", "it", "superb"])

    (encoded,) = encode(model, {"words": pair})
    (again,) = encode(model, model.tokenizer(*pair, is_split_into_words=True))

    assert encoded.tokens.word[:4] == (-1, 0, 1, -1)
    assert encoded.tokens.word == again.tokens.word
    assert apart(encoded.tokens) == dict(enumerate(["thin", "plot", "was", "it", "superb"]))
    assert encoded.tokens.segment == again.tokens.segment
    places = zip(encoded.tokens.start, encoded.tokens.stop, strict=True)
    assert encoded.tokens.input == "thin plot\nwas it superb"
    assert [encoded.tokens.input[slice(*place)] for place in places if place[0] >= 0][:4] == [
        "thin",
        "plot",
        "was",
        "it",
    ]


def test_a_text_with_one_word_at_its_start_is_no_list_of_words(model):
    """Offsets that grow are those of a text, whose words are ours."""
    (encoded,) = encode(model, model.tokenizer("don't"))

    assert set(encoded.tokens.word) == {-1, 0}


@pytest.mark.parametrize("words", [[], ["the", ""], ["the", 3], "the plot", (["a"], ["b"], ["c"]), ([],)])
def test_what_is_no_list_of_words_is_refused(model, words):
    """With an example of one."""
    with pytest.raises(InputError, match=r"a word of the text is empty|give \{'words'"):
        encode(model, {"words": words})


CHAT = [{"role": "user", "content": "thin film"}]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}it: {% endif %}"
)


@pytest.fixture(scope="module")
def talker():
    """A decoder whose tokenizer begins every text with its start token, and whose chat template writes that, too."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", 0)]
    )
    tokenizer.chat_template = TEMPLATE
    return headed("gpt2", "GPT2LMHeadModel", tokenizer=tokenizer, n_positions=60)


def test_a_chat_is_written_by_its_template(talker):
    """With the beginning of the answer, and the start token once, as the template's own tokens are."""
    (encoded,) = encode(talker, CHAT)

    own = talker.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=True)
    assert encoded.tensors["input_ids"].tolist() == [own["input_ids"]]
    assert encoded.tokens.input == "<|end|>user: thin film\nit: "
    assert encoded.tokens.special[:2] == (True, False)


def test_an_answer_that_has_begun_is_continued(talker):
    """Where the last message is the assistant's, it is the one that goes on, as in transformers' pipelines."""
    begun = [*CHAT, {"role": "assistant", "content": "superb"}]

    (encoded,) = encode(talker, begun)

    assert encoded.tokens.input.endswith("assistant: superb")


def test_a_chat_is_one_input_and_a_list_of_chats_several(talker):
    """A list of messages looks like a list of mappings, which are several inputs."""
    one = lignite.explain(talker, CHAT, target=1, method="saliency")
    two = lignite.explain(talker, [CHAT, CHAT], target=1, method="saliency")

    assert [each.value for each in two] == [one.value] * 2


def test_bare_ids_are_one_input(talker):
    """As `tokenizer.encode` returns them, in a list, an array or a tensor."""
    ids = talker.tokenizer.encode("thin")

    for given in (ids, np.array(ids), torch.tensor(ids), torch.tensor([ids])):
        why = lignite.explain(talker, given, target=1, method="saliency")
        assert why.position.values.tolist() == list(range(len(ids)))
    assert len(lignite.explain(talker, [ids, ids[:2]], target=1, method="saliency")) == 2


def test_a_start_token_that_the_text_already_has_is_not_doubled(talker):
    """Two of them are an input that no model was trained on; what was left out is said."""
    prompt = talker.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)

    with pytest.warns(UserWarning, match=r"already begins with '<\|end\|>', .* a second time"):
        (encoded,) = encode(talker, prompt)

    assert encoded.tensors["input_ids"].tolist() == encode(talker, CHAT)[0].tensors["input_ids"].tolist()
    assert encoded.tensors["attention_mask"].shape == encoded.tensors["input_ids"].shape


def test_special_tokens_written_at_both_ends_are_not_doubled(model):
    """As people write for BERT."""
    with pytest.warns(UserWarning, match="a second time"):
        (encoded,) = encode(model, "[CLS] thin plot [SEP]")

    assert encoded.tokens.text == ("[CLS]", "thin", "plot", "[SEP]")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (CHAT[0], "one message is no chat"),
        ([{"role": "user"}], "cannot write these messages|content"),
        ([{"role": "user", "content": "thin"}, "superb"], "one message is no chat"),
    ],
)
def test_messages_that_cannot_be_written_are_refused(talker, given, message):
    """In one line, whatever the template says."""
    talker.tokenizer.chat_template = "{% if not messages[0].content %}{{ raise_exception('no content') }}{% endif %}"
    try:
        with pytest.raises(InputError, match=message) as caught:
            encode(talker, given)
    finally:
        talker.tokenizer.chat_template = TEMPLATE

    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_a_chat_template_says_so(model):
    """There is no usual way to write messages."""
    with pytest.raises(InputError, match="has no chat template"):
        encode(model, CHAT)


def test_a_hidden_token_between_others_stays_a_token(model):
    """No other token can read it, but the model still answers at it, and a mean over tokens counts it."""
    given = hidden(dict(model.tokenizer(TEXT, return_tensors="pt")))
    labeller = headed("bert", "BertForTokenClassification", max_position_embeddings=40)

    options = {"baseline": "mask", "orders": False}  # deleting it would move those behind it

    why = lignite.explain(model, given, target=1, **options)
    there = lignite.explain(labeller, given, target=lignite.Target(token=3, label=1), **options)

    assert why.sizes["token"] == given["input_ids"].shape[1]
    assert abs(why.relevance.values[3]) < 1e-12  # float64: nothing reads it
    assert why.relevance.values[4] != 0
    assert there.relevance.values[3] != 0
    assert_close(there.layer_relevance.sum("token").values, (there.displacement + there.gap).values, rtol=0, atol=1e-9)


TEXT = "the plot was thin"
COUNTING = [
    ("roberta", "RobertaForSequenceClassification"),
    ("roberta", "XLMRobertaForSequenceClassification"),
]


@pytest.mark.parametrize(("name", "model_class"), COUNTING)
def test_kept_tokens_start_as_themselves_where_words_become_padding(name, model_class):
    """Special tokens that stay have nothing to explain at the first layer: their number is their own."""
    model = headed(name, model_class)

    why = lignite.explain(model, TEXT, target=1, baseline="pad")

    assert not why.layer_relevance.values[0][why.special.values].any()
    assert why.layer_relevance.values[0][~why.special.values].all()


@pytest.mark.parametrize(("name", "model_class"), [*COUNTING, ("bert", "BertForSequenceClassification")])
def test_edits_with_the_padding_token_leave_the_others_in_place(name, model_class):
    """Against the model itself, given its own positions; BERT counts from the left and needs none."""
    model = headed(name, model_class)
    (row,) = ask(model, TEXT, 1)

    edited = predict(model, [replace_tokens(row, [1, 2], model.tokenizer.pad_token_id)]).value

    given = model.tokenizer(TEXT, return_tensors="pt")
    first = model.tokenizer.pad_token_id + 1 if name == "roberta" else 0
    given["position_ids"] = first + torch.arange(given["input_ids"].shape[1])[None]
    given["input_ids"][0, 1:3] = model.tokenizer.pad_token_id
    with torch.no_grad():
        own = model.network(**given).logits[0, 1]
    assert_allclose(float(edited), float(own), rtol=0, atol=1e-9)


def test_positions_are_handed_over_only_where_they_would_be_counted_anew():
    """And never in the place of those that a user gives."""
    roberta, bert = headed(*COUNTING[0]), headed("bert", "BertForSequenceClassification")
    given = {"input_ids": torch.tensor([[2, 9, 10, 3]]), "position_ids": torch.tensor([[5, 6, 7, 8]])}

    (counted,), (kept,), (usual,) = encode(roberta, TEXT), encode(roberta, given), encode(bert, TEXT)

    first = roberta.tokenizer.pad_token_id + 1
    assert counted.tensors["position_ids"].tolist() == [list(range(first, first + len(counted.tokens)))]
    assert kept.tensors["position_ids"].tolist() == [[5, 6, 7, 8]]
    assert "position_ids" not in usual.tensors


def test_lists_of_counted_positions_are_explained_as_each_alone():
    """Padding beside a row has no number of its own to take."""
    model = headed(*COUNTING[0])
    texts = [TEXT, "it", "people says nothing at all"]

    together = lignite.explain(model, texts, target=1, method="ig", baseline="pad")

    for text, why in zip(texts, together, strict=True):
        alone = lignite.explain(model, text, target=1, method="ig", baseline="pad")
        assert_allclose(why.relevance, alone.relevance, rtol=0, atol=1e-7)

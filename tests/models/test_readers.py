"""Tokenizers and transforms of the user's own are read as if they were transformers'."""

import numpy as np
import pytest
import tokenizers
import torch
from PIL import Image
from tests.kit.plain_modules import GPT, VisionTransformer, build

import lignite
from lignite.errors import InputError, OptionError
from lignite.inputs.encode import encode
from lignite.models.readers import as_tokenizer, as_transform

LETTERS = "abcdefgh ilmnoprst."


class Letters:
    """As nanoGPT's: a number for each character."""

    def encode(self, text):
        return [LETTERS.index(letter) for letter in text]

    def decode(self, ids):
        return "".join(LETTERS[number] for number in ids)


class Words:
    """A word at a time, in small letters, with marks at both ends and one for what is not known."""

    vocabulary = ("<pad>", "<s>", "</s>", "<unk>", "a", "superb", "film", ".")
    pad_id, bos_id, eos_id, unk_id = 0, 1, 2, 3

    def encode(self, text):
        words = text.lower().replace(".", " .").split()
        known = [self.vocabulary.index(word) if word in self.vocabulary else 3 for word in words]
        return torch.tensor([1, *known, 2])

    def decode(self, ids):
        return " ".join(self.vocabulary[number] for number in ids)


class Bytes:
    """As byte-level BPE: a character may be cut in two."""

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")


def tokens_of(tokenizer, text):
    model = lignite.wrap(build(GPT), (lambda _: [0], None))
    (encoded,) = encode(lignite.models.load.Model(model.network, as_tokenizer(tokenizer), None, "it"), text)
    return encoded.tokens


def test_tokens_stand_where_they_were_read():
    """Places, words and special tokens of each kind of tokenizer, counted by hand."""
    letters = tokens_of(Letters(), "a film.")
    assert letters.text == tuple("a film.")
    assert letters.start[:4] == (0, 1, 2, 3)
    assert letters.word == (0, 1, 1, 1, 1, 1, 2)

    words = tokens_of(Words(), "A weird film.")
    assert words.text == ("<s>", "a", "<unk>", "film", ".", "</s>")
    assert words.special == (True, False, False, False, False, True)
    assert (words.start, words.stop) == ((-1, 0, 2, 8, 12, -1), (-1, 1, 7, 12, 13, -1))
    assert words.word == (-1, 0, 1, 2, 3, -1)


def test_a_character_that_is_cut_in_two_stands_in_one_place():
    """Its halves write nothing by themselves."""
    read = as_tokenizer(Bytes())("né", add_special_tokens=False)

    assert read["input_ids"] == [110, 195, 169]
    assert read["offset_mapping"] == [(0, 1), (1, 2), (1, 2)]


def test_words_that_were_told_apart_stay_words():
    """Each token belongs to the word that it was read from."""
    tokens = tokens_of(Letters(), {"words": ["film.", "a"]})

    assert tokens.word == (0, 0, 0, 0, 0, -1, 1) or tokens.word == (0, 0, 0, 0, 0, 1, 1)


def test_tokens_that_stand_for_no_word_belong_to_none():
    """Marks at both ends are not of the first word, where all else is counted from."""
    read = as_tokenizer(Words())(["a", "film"], is_split_into_words=True)

    assert read.word_ids() == [None, 0, 1, None]
    assert read["offset_mapping"] == [(0, 0), (0, 1), (0, 4), (0, 0)]


def test_roles_are_read_under_the_names_in_use_and_a_role_that_is_not_there_is_none():
    """SentencePiece answers when it is asked, and with -1 for what it does not have."""
    asked = Words()
    asked.pad_id, asked.eos_id, asked.bos_token_id = (lambda: -1), (lambda: 2), 0

    read = as_tokenizer(asked)

    assert (read.pad_token_id, read.eos_token_id, read.bos_token_id, read.unk_token_id) == (None, 2, 0, 3)


def test_a_tokenizer_of_tokenizers_is_sent_to_transformers():
    """It encodes, and does not say which ids stand for no part of a text."""
    with pytest.raises(OptionError, match=r"give transformers' PreTrainedTokenizerFast\(tokenizer_object=tokenizer\)"):
        as_tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")))


def test_two_functions_and_one_alone_are_taken():
    """People define two; where nothing writes ids back, tokens go by their numbers."""
    letters = Letters()

    assert tokens_of((letters.encode, letters.decode), "a film").text == tuple("a film")
    assert tokens_of(letters.encode, "film").text == ("<5>", "<9>", "<10>", "<11>")


def test_what_a_tokenizer_cannot_read_is_said():
    """Its own error names no text; a pair has no joint that anybody knows."""
    with pytest.raises(InputError, match=r"cannot read 'a zoo' \(ValueError"):
        tokens_of(Letters(), "a zoo")
    with pytest.raises(InputError, match="one text at a time"):
        tokens_of(Letters(), ("a", "film"))
    with pytest.raises(InputError, match="expected a list of ids"):
        tokens_of(lambda text: text.split(), "a film")


def test_explanations_speak_the_words_of_the_tokenizer():
    """From a text to labelled letters, with the next one in the answer."""
    model = lignite.wrap(build(GPT), Letters())

    why = lignite.explain(model, "a film", method="ig")

    assert list(why.token.values) == list("a film")
    assert why.prediction in {repr(letter) for letter in LETTERS}


class Standard:
    """As the transforms that torchvision and timm give with their weights."""

    mean, std = [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]

    def __call__(self, picture):
        colours = torch.from_numpy(np.array(picture)).movedim(-1, 0) / 255
        return (colours - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


class Steps:
    """As a composition of transforms: the last one with colours makes them."""

    def __init__(self, *transforms):
        self.transforms = list(transforms)

    def __call__(self, picture):
        for step in self.transforms:
            picture = step(picture)
        return picture


class Turned:
    """A step before the last, with colours that are not the model's."""

    mean, std = [0.0] * 3, [9.0] * 3

    def __call__(self, picture):
        return picture.transpose(Image.Transpose.ROTATE_180)


def test_colours_of_several_steps_are_those_of_the_last():
    """Whatever an earlier step says of itself."""
    transform = as_transform(Steps(Turned(), Standard()), None, None, None)
    picture = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)

    assert (transform.image_mean, transform.image_std) == (Standard.mean, Standard.std)
    turned = Standard()(picture[::-1, ::-1].copy())
    torch.testing.assert_close(transform(picture)["pixel_values"][0], turned)


def test_a_grey_picture_becomes_one_channel_by_one_mean_and_scale():
    """Digits have no colours."""
    transform = as_transform(None, None, [0.5], [0.25])

    pixels = transform(np.full((2, 3, 1), 51, dtype=np.uint8))["pixel_values"]

    torch.testing.assert_close(pixels, torch.full((1, 1, 2, 3), (0.2 - 0.5) / 0.25))


@pytest.mark.parametrize(
    ("given", "words"),
    [((None, None, [0.5] * 3, None), "mean and std belong together"), (("name", None, None, None), "is a str: give a")],
)
def test_half_a_transform_is_refused(given, words):
    """Pixels of another scale would be explained as if they were the model's."""
    with pytest.raises(OptionError, match=words):
        as_transform(*given)


def test_a_transform_prepares_pictures_and_says_its_colours():
    """What the model sees is shown, and grey is grey."""
    picture = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    model = lignite.wrap(build(VisionTransformer), image_processor=Standard())

    (encoded,) = encode(model, picture)

    np.testing.assert_array_equal(encoded.image, picture)
    why = lignite.explain(model, picture, method="ig", baseline="grey", target=1)
    grey = Standard()(np.full_like(picture, 0)) + 0.5 / torch.tensor(Standard.std)[:, None, None]
    with torch.no_grad():
        moved = float(why.logit[1]) - float(model.network.module(grey[None].double())[0, 1])
    assert float(why.relevance.sum()) == pytest.approx(moved, rel=1e-3)  # the tolerance of the scores

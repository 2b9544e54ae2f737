"""Tokens carry the labels of every later result: text, words, offsets, segments, patches, padding."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests.kit.tiny_tokenizers import byte_level, sentence_piece, word_piece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch.testing import assert_close
from transformers import (
    BeitConfig,
    BeitModel,
    BertConfig,
    BertModel,
    ByT5Tokenizer,
    CanineTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers import logging as transformers_logging

import lignite
from lignite.errors import InputError
from lignite.inputs.encode import encode
from lignite.inputs.patches import image_tokens
from lignite.inputs.pieces import readable
from lignite.inputs.tokens import Tokens
from lignite.models.load import load, wrap

TEXT = "I don't think it's superb... 3.14 zebras!"
WORDS = ["I", "don't", "think", "it's", "superb", "...", "3.14", "zebras", "!"]
TOKENIZERS = [word_piece, byte_level, sentence_piece]
SHARED = Path(__file__).parents[3] / "shared"
TINY = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 12, "intermediate_size": 20}


def bert(tokenizer=None, *, vocab_size=97, **options):
    torch.manual_seed(0)
    config = BertConfig(vocab_size=vocab_size, max_position_embeddings=40, **TINY, **options)
    return wrap(BertModel(config).eval().double(), tokenizer, name="tiny-bert")


def gpt2(tokenizer=None, *, vocab_size=340):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=48, n_embd=12, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return wrap(GPT2Model(config).eval().double(), tokenizer, name="tiny-gpt2")


def llama(tokenizer=None):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=340, max_position_embeddings=48, num_key_value_heads=1, **TINY)
    return wrap(LlamaModel(config).eval().double(), tokenizer, name="tiny-llama")


def image_model(kind, config_kind, *, size=(8, 12), **options):
    torch.manual_seed(0)
    return wrap(kind(config_kind(image_size=size, patch_size=4, num_channels=3, **TINY, **options)).eval())


def words_in(tokens):
    """Every word's text, from its first token's start to its last one's stop."""
    spans = {}
    for word, start, stop in zip(tokens.word, tokens.start, tokens.stop, strict=True):
        if word >= 0:
            spans[word] = (min(start, spans.get(word, (start, 0))[0]), max(stop, spans.get(word, (0, stop))[1]))
    return [tokens.input[slice(*spans[word])].strip() for word in sorted(spans)]


@pytest.mark.parametrize("make_tokenizer", TOKENIZERS)
def test_words_are_the_same_for_every_tokenizer(make_tokenizer):
    """Word results of two models can only be compared if both mean the same words."""
    tokens = encode(gpt2(make_tokenizer()), TEXT)[0].tokens

    assert words_in(tokens) == WORDS


@pytest.mark.parametrize("make_tokenizer", TOKENIZERS)
def test_offsets_point_at_the_text_of_each_token(make_tokenizer):
    """Labels and highlights cut the text by them; spaces that a tokenizer packs into a token stay out."""
    tokens = encode(gpt2(make_tokenizer()), TEXT)[0].tokens

    cut = [TEXT[start:stop] for start, stop in zip(tokens.start, tokens.stop, strict=True) if start >= 0]

    assert tokens.input == TEXT
    assert "".join(cut).replace(" ", "") == TEXT.replace(" ", "")
    assert all(not part.strip() or part == part.strip() for part in cut)


@pytest.mark.parametrize("make_tokenizer", TOKENIZERS)
def test_ids_are_those_of_the_tokenizer(make_tokenizer):
    """Special tokens included, in the tokenizer's own way."""
    tokenizer = make_tokenizer()

    encoded = encode(gpt2(tokenizer), TEXT)[0]

    assert encoded.tensors["input_ids"].tolist() == [tokenizer(TEXT)["input_ids"]]
    assert encoded.tensors["input_ids"].dtype == torch.int64
    assert len(encoded.tokens) == encoded.tensors["input_ids"].shape[1]
    assert encoded.tokens.position == tuple(range(len(encoded.tokens)))


def test_byte_level_tokens_show_real_characters():
    """Byte alphabets make `Ã©` of é; a reader wants é, the mark of a word start, and cut characters named as bytes."""
    tokens = encode(gpt2(byte_level()), "superb café\n😀")[0].tokens

    assert "é" in "".join(tokens.text)
    assert "Ã" not in "".join(tokens.text)
    assert any(token.startswith("Ġ") for token in tokens.text)
    assert "Ċ" in tokens.text
    assert tokens.text[-4:] == ("<0xF0>", "<0x9F>", "<0x98>", "<0x80>")  # U+1F600 in UTF-8
    assert len(set(tokens.word[-4:])) == 1


def test_pieces_of_other_tokenizers_are_left_alone():
    """Only a byte alphabet may be decoded: é is a letter of its own elsewhere."""
    assert readable("Ã©", "##") == "Ã©"
    assert readable("Ġé", "▁") == "Ġé"


def test_a_lone_start_mark_belongs_to_the_word_it_starts():
    """Sentencepiece writes `▁` apart before unusual words; summed over words nothing may be left over."""
    tokens = encode(gpt2(sentence_piece()), "was 3.14")[0].tokens

    mark = tokens.text.index("▁")

    assert tokens.word[mark] == tokens.word[mark + 1] == 1


def test_special_tokens_are_flagged_and_placeholders_are_not():
    """[MASK] and [UNK] stand for text, at a place in it; a [SEP] that somebody types does not."""
    tokens = encode(bert(word_piece()), "was [MASK] ж [SEP] good")[0].tokens

    special = dict(zip(tokens.text, tokens.special, strict=True))

    assert special["[CLS]"]
    assert special["[SEP]"]
    assert not special["[MASK]"]
    assert not special["[UNK]"]
    assert tokens.text.count("[SEP]") == 2
    assert sum(tokens.special) == 3
    assert tokens.input[tokens.start[2] : tokens.stop[2]] == "[MASK]"


def test_one_token_for_all_roles_is_still_special():
    """GPT-2's unknown token is also its start and end: excepting it as unknown would lose the flag."""
    tokens = encode(gpt2(byte_level()), "superb<|end|>")[0].tokens

    assert tokens.special == (False,) * (len(tokens) - 1) + (True,)


@pytest.mark.parametrize("make_tokenizer", [word_piece, sentence_piece])
def test_a_pair_has_two_segments_and_one_input(make_tokenizer):
    """Offsets count in the joined text, so that one string serves every label."""
    tokens = encode(gpt2(make_tokenizer()), ("What was it?", "Superb, I say."))[0].tokens

    assert tokens.input == "What was it?\nSuperb, I say."
    assert words_in(tokens) == ["What", "was", "it", "?", "Superb", ",", "I", "say", "."]
    first = {word for word, segment in zip(tokens.word, tokens.segment, strict=True) if segment == 0}
    second = {word for word, segment in zip(tokens.word, tokens.segment, strict=True) if segment == 1}
    assert first == {0, 1, 2, 3}
    assert second == {4, 5, 6, 7, 8}
    assert all((segment == -1) == flag for segment, flag in zip(tokens.segment, tokens.special, strict=True))


def test_a_single_text_has_no_segments():
    """The coordinate exists for pairs alone."""
    assert encode(bert(word_piece()), "superb")[0].tokens.segment is None


def test_a_list_gives_one_result_per_item():
    """Texts and pairs may be mixed; a list of two texts is no pair."""
    model = bert(word_piece())

    encoded = encode(model, ["was good", ("was", "good"), "superb"])

    assert [each.tokens.input for each in encoded] == ["was good", "was\ngood", "superb"]
    assert all(each.tensors["input_ids"].shape[0] == 1 for each in encoded)


@pytest.mark.parametrize("text", [TEXT, "a café's  plot was thin, it says..."])
@pytest.mark.parametrize("make_tokenizer", TOKENIZERS)
def test_encoded_tensors_are_labelled_like_their_text(make_tokenizer, text):
    """Who ran the tokenizer gets the same words and flags, without offsets into a text that was never seen."""
    tokenizer = make_tokenizer()
    model = gpt2(tokenizer)

    mine, theirs = encode(model, text)[0].tokens, encode(model, tokenizer(text, return_tensors="pt"))[0].tokens

    assert theirs.text == mine.text
    assert theirs.word == mine.word
    assert theirs.special == mine.special
    assert set(theirs.start) == {-1}
    assert theirs.input == ""


def test_words_of_bare_ids_follow_the_marks():
    """Without offsets the pieces are joined as their marks say."""
    tokenizer = sentence_piece()

    tokens = encode(gpt2(tokenizer), {"input_ids": tokenizer("it's superb, ж!")["input_ids"]})[0].tokens

    numbers = [word for word in tokens.word if word >= 0]
    starts = [
        text for text, (before, word) in zip(tokens.text[1:], pairwise(tokens.word), strict=True) if word > before
    ]
    assert numbers == sorted(numbers)
    assert max(numbers) == 4  # it's · superb · , · ж · !
    assert starts[0].startswith("▁it")


def test_word_pieces_of_bare_ids_are_joined():
    """`##` continues a word; without offsets everything else starts one, punctuation inside words included."""
    tokenizer = word_piece()

    tokens = encode(bert(tokenizer), {"input_ids": tokenizer("superb don't")["input_ids"]})[0].tokens

    assert tokens.text == ("[CLS]", "s", "##u", "##p", "##er", "##b", "don", "'", "t", "[SEP]")
    assert tokens.word == (-1, 0, 0, 0, 0, 0, 1, 2, 3, -1)


def test_slow_tokenizers_have_words_without_offsets():
    """ByT5 reads bytes and reports no offsets; the space before a word, a token of its own, belongs to the word."""
    torch.manual_seed(0)
    tokens = encode(gpt2(ByT5Tokenizer(extra_ids=3)), "I don't.")[0].tokens

    assert tokens.text == (*"I don't.", "</s>")
    assert tokens.word == (0, 1, 1, 1, 1, 1, 1, 2, -1)
    assert set(tokens.start) == {-1}
    assert tokens.special[-1]


def byte_fallback():
    """Llama's convention: what no piece covers is spelled in UTF-8, a byte a token."""
    pieces = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁acfijnrst"]
    backend = Tokenizer(
        models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>")


def characters():
    """A fast tokenizer of single characters, spaces among them, whose decoder says nothing."""
    signs = ["<unk>", *" acfijnrsté好è—“”😀"]
    backend = Tokenizer(models.WordLevel({sign: number for number, sign in enumerate(signs)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


@pytest.mark.parametrize("as_given", ["text", "encoding", "ids"])
@pytest.mark.parametrize("make_tokenizer", [ByT5Tokenizer, CanineTokenizer, byte_fallback, byte_level, characters])
def test_words_of_bytes_and_characters_are_whole_and_spelled_right(make_tokenizer, as_given):
    """A character of several bytes is one character: neither words nor their letters may fall apart at bytes."""
    tokenizer, text = make_tokenizer(), "café très 好 fin — “ja” 😀"
    given = {"text": text, "encoding": tokenizer(text), "ids": tokenizer(text)["input_ids"]}[as_given]
    model = byte_reader(tokenizer)
    if as_given == "encoding" and not tokenizer.is_fast:
        given = {"input_ids": given["input_ids"]}  # CANINE's token types mean words to GPT-2

    why = lignite.explain(model, given, target=1, method="saliency")

    merged = why.lignite.merge_words()
    words = [word for word, special in zip(merged.token.values, merged.special.values, strict=True) if not special]
    assert words == ["café", "très", "好", "fin", "—", "“", "ja", "”", "😀"]


def byte_reader(tokenizer):
    """A decoder with room for CANINE's code points, which are looked up modulo the size of its table."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=400, n_positions=48, n_embd=12, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    network = GPT2LMHeadModel(config).eval()
    network.transformer.wte = Modulo(400, 12)
    return wrap(network, tokenizer)


class Modulo(torch.nn.Module):
    def __init__(self, size, width):
        super().__init__()
        self.table = torch.nn.Embedding(size, width)

    def forward(self, ids):
        return self.table(ids % self.table.num_embeddings)


def test_special_tokens_that_nobody_can_see_are_named_by_their_role():
    """CANINE marks start and end by code points for private use."""
    tokens = encode(byte_reader(CanineTokenizer()), "ab")[0].tokens

    assert tokens.text == ("[CLS]", "a", "b", "[SEP]")


def test_slow_tokenizers_tell_pairs_apart():
    """They report no segments; the texts are read one after the other."""
    tokens = encode(gpt2(ByT5Tokenizer(extra_ids=3)), ("ab", "cde"))[0].tokens

    assert tokens.segment == (0, 0, -1, 1, 1, 1, -1)


def test_ids_without_a_tokenizer_are_labelled_by_number():
    """Nothing else is known about them."""
    tokens = encode(bert(), {"input_ids": torch.tensor([[7, 5, 9]])})[0].tokens

    assert tokens.text == ("7", "5", "9")
    assert tokens.word == (-1, -1, -1)


@pytest.mark.parametrize("make_model", [bert, gpt2, llama])
def test_padding_on_the_right_changes_no_number(make_model):
    """A row must not depend on the rows it was padded with: states on real tokens equal those of the text alone."""
    tokenizer = (word_piece if make_model is bert else byte_level)()
    model = make_model(tokenizer)
    texts = ["It was superb.", "The plot was thin, but the acting was superb.", "A café"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")

    rows = encode(model, batch)

    for row, text in zip(rows, texts, strict=True):
        alone = encode(model, text)[0]
        kept = row.tokens.keep()
        with torch.no_grad():
            padded = model.network(**row.tensors).last_hidden_state[0, list(kept.position)]
            expected = model.network(**alone.tensors).last_hidden_state[0]
        assert kept.text == alone.tokens.text
        assert sum(row.tokens.padding) == batch["input_ids"].shape[1] - len(alone.tokens)
        assert_close(padded, expected, rtol=1e-6, atol=1e-6)  # Llama's norms and rotations compute in float32


def test_positions_of_roberta_are_left_to_itself():
    """It counts from its padding id, so positions from outside would be wrong by two."""
    torch.manual_seed(0)
    network = RobertaModel(RobertaConfig(vocab_size=50, max_position_embeddings=20, pad_token_id=1, **TINY)).eval()
    ids = torch.tensor([[1, 1, 5, 6, 7]])

    row = encode(wrap(network), {"input_ids": ids, "attention_mask": (ids != 1).long()})[0]

    with torch.no_grad():
        padded = network(**row.tensors).last_hidden_state[0, 2:]
        expected = network(input_ids=ids[:, 2:]).last_hidden_state[0]
    assert_close(padded, expected, rtol=1e-5, atol=1e-6)  # float32


def test_keep_drops_padding_from_every_label():
    """Positions stay those of the model's input."""
    tokenizer = word_piece(padding_side="left")
    batch = tokenizer([("was", "good"), ("It was superb", "it says nothing")], padding=True, return_tensors="pt")

    tokens = encode(bert(tokenizer), batch)[0].tokens
    kept = tokens.keep()

    assert tokens.padding[0]
    assert kept.text[0] == "[CLS]"
    assert kept.position == tuple(range(len(tokens) - len(kept), len(tokens)))
    assert kept.segment[:2] == (-1, 0)
    assert not any(kept.padding)


def test_labels_must_have_one_entry_per_token():
    """A shifted label would lie about every score after it."""
    with pytest.raises(InputError, match="differ in length"):
        Tokens(text=("a",), position=(0,), word=(0, 1), special=(False,), start=(0,), stop=(1,), padding=(False,))


def test_empty_token_types_stay_away_from_models_without_them():
    """GPT-2 would look zeros up among its words and add the first one's embedding to every token."""
    tokenizer = word_piece()

    encoded = encode(gpt2(tokenizer), "superb")[0]

    assert "token_type_ids" in tokenizer("superb")
    assert "token_type_ids" not in encoded.tensors
    assert "token_type_ids" in encode(bert(tokenizer), "superb")[0].tensors


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        (("question", " "), "empty"),
        ([], "list of inputs is empty"),
        ("\x00\u200b", "no token"),
        ("\ud83d", "half a character"),
        ("was " * 39, r"41 tokens.*at most 40"),
        (3, "cannot encode int"),
        (b"superb", "cannot encode bytes"),
        (("a", "b", "c"), "tuple of 3"),
        (("a", 1), "str, int"),
        ([["superb"]], r"cannot encode list.*give \{'words': \[\.\.\.\]\}"),
        ({}, "nothing"),
        ({"attention_mask": [[1]]}, "give either input_ids or pixel_values"),
        ({"input_ids": [[1, 97]]}, r"id 97 is outside the vocabulary of tiny-bert \(0 to 96\)"),
        ({"input_ids": [[1, -1]]}, "id -1 is outside"),
        ({"input_ids": [[1, 2]], "attention_mask": [[0, 0]]}, "hides every token of row 0"),
        ({"input_ids": [[1, 2], [3, 4]], "attention_mask": [[1, 1], [0, 0]]}, "hides every token of row 1"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1]]}, "one number per token"),
        ({"input_ids": [[1, 2]], "token_type_ids": [[0, 0], [0, 0]]}, "number of rows"),
        ({"input_ids": torch.ones(1, 2, 3, dtype=torch.long)}, "several texts per example"),
        ({"input_ids": torch.ones(1, 2)}, "whole numbers"),
        ({"input_ids": torch.ones(0, 2, dtype=torch.long)}, "no rows"),
        ({"input_ids": torch.ones(1, 0, dtype=torch.long)}, "whole numbers"),
        ({"input_ids": torch.ones(1, 41, dtype=torch.long)}, r"41 tokens.*at most 40"),
        ({"input_ids": [[1, 2]], "bananas": [[1, 2]]}, "no 'bananas'"),
    ],
)
def test_bad_input_is_refused_in_one_line(inputs, message):
    """What was given, what was expected, what to do; nothing is cut off or guessed."""
    with pytest.raises(InputError, match=message) as caught:
        encode(bert(word_piece()), inputs)

    assert "\n" not in str(caught.value)


def test_text_without_a_tokenizer_is_refused():
    """Only now is the tokenizer missed: tensors need none."""
    with pytest.raises(InputError, match="tiny-bert has no tokenizer"):
        encode(bert(), "superb")


def test_text_for_a_model_of_images_is_the_name_of_one():
    """No tokenizer would help; a text of another meaning fails as a name that leads nowhere."""
    with pytest.raises(InputError, match=r"there is no image 'cat\.png': check the path"):
        encode(image_model(ViTModel, ViTConfig, size=8), "cat.png")


def test_a_tokenizer_of_another_model_is_noticed():
    """Its ids would fall outside the embeddings, deep in the network."""
    with pytest.raises(InputError, match="outside the vocabulary"):
        encode(bert(byte_level(), vocab_size=20), "superb")


def test_a_stored_truncation_does_not_cut():
    """tokenizer.json may carry a maximum length; a silently shorter text would be explained instead of the user's."""
    backend = word_piece().backend_tokenizer
    backend.enable_truncation(4)
    backend.enable_padding(length=30)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")

    tokens = encode(bert(tokenizer), "was it was it was")[0].tokens

    assert tokens.text == ("[CLS]", "was", "it", "was", "it", "was", "[SEP]")


def test_long_text_is_refused_without_chatter(caplog):
    """Tokenizers warn about length; here it is an error, once."""
    transformers_logging.enable_propagation()
    try:
        with pytest.raises(InputError):
            encode(bert(word_piece(model_max_length=12)), "superb " * 30)
    finally:
        transformers_logging.disable_propagation()

    assert not caplog.records


IMAGE_MODELS = [
    (ViTModel, ViTConfig, (8, 12), ["[CLS]"]),
    (DeiTModel, DeiTConfig, (8, 12), ["[CLS]", "[DIST]"]),
    (BeitModel, BeitConfig, (8, 12), ["[CLS]"]),
    (Dinov2Model, Dinov2Config, 8, ["[CLS]"]),
    (Dinov2WithRegistersModel, Dinov2WithRegistersConfig, 8, ["[CLS]", "[REG1]", "[REG2]"]),
    (CLIPVisionModel, CLIPVisionConfig, 8, ["[CLS]"]),
    (SiglipVisionModel, SiglipVisionConfig, 8, []),
]


@pytest.mark.parametrize(("kind", "config_kind", "size", "prefix"), IMAGE_MODELS)
def test_image_tokens_are_as_many_as_the_states(kind, config_kind, size, prefix):
    """Class, distillation and register tokens come first, then the patches row by row."""
    options = {"num_register_tokens": 2} if "[REG1]" in prefix else {}
    model = image_model(kind, config_kind, size=size, **options)
    rows, cols = (2, 2) if kind in (CLIPVisionModel, SiglipVisionModel) else (2, 3)  # DINOv2 reads sizes it never saw

    encoded = encode(model, {"pixel_values": torch.randn(2, 3, 4 * rows, 4 * cols)})

    with torch.no_grad():
        states = model.network(**encoded[1].tensors).last_hidden_state
    tokens = encoded[1].tokens
    grid = [(row, col) for row in range(rows) for col in range(cols)]
    assert len(encoded) == 2
    assert states.shape[1] == len(tokens)
    assert tokens.text == (*prefix, *(f"r{row}c{col}" for row, col in grid))
    assert list(zip(tokens.row, tokens.col, strict=True)) == [(-1, -1)] * len(prefix) + grid
    assert tokens.special == (True,) * len(prefix) + (False,) * len(grid)


def test_a_patch_is_labelled_by_where_it_lies():
    """Changing the pixels of one patch changes its own embedding and no other: labels and pixels agree."""
    model = image_model(ViTModel, ViTConfig)
    pixels = torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    changed = pixels.clone()
    changed[:, :, 4:8, 0:4] += 1  # second row, first column

    with torch.no_grad():
        difference = model.network.embeddings(changed) - model.network.embeddings(pixels)

    tokens = encode(model, {"pixel_values": pixels[0]})[0].tokens
    moved = difference[0].abs().sum(-1).nonzero().flatten().tolist()
    assert [tokens.text[place] for place in moved] == ["r1c0"]


def test_pixels_beyond_the_last_whole_patch_are_left_out():
    """A convolution with stride drops them, so there is no token to label."""
    model = image_model(Dinov2Model, Dinov2Config, size=8)

    encoded = encode(model, {"pixel_values": torch.randn(1, 3, 16, 9)})[0]

    with torch.no_grad():
        states = model.network(**encoded.tensors).last_hidden_state
    assert len(encoded.tokens) == states.shape[1] == 1 + 4 * 2


def test_models_inside_a_pair_of_towers_are_found():
    """CLIP and SigLIP keep their image configuration one level down."""
    config = CLIPVisionConfig(image_size=8, patch_size=4)
    outer = ViTConfig(vision_config=config)
    outer.model_type = "clip"

    assert image_tokens(outer, 8, 8).text == ("[CLS]", "r0c0", "r0c1", "r1c0", "r1c1")


def test_unknown_image_models_are_counted_not_guessed():
    """Their tokens get numbers and no place; the look at the states leaves running statistics and flags alone."""
    torch.manual_seed(0)
    network = ViTModel(ViTConfig(image_size=8, patch_size=4, **TINY))
    network.embeddings.dropout = torch.nn.BatchNorm1d(5)
    network.config.model_type = "mystery"
    network.train().pooler.eval()
    flags = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}

    tokens = encode(wrap(network), {"pixel_values": torch.randn(1, 3, 8, 8)})[0].tokens

    assert image_tokens(network.config, 8, 8) is None
    assert tokens.text == ("t0", "t1", "t2", "t3", "t4")
    assert set(tokens.row) == {-1}
    assert [module.training for module in network.modules()] == flags
    assert_close(network.state_dict(), state, rtol=0, atol=0)


def test_models_without_a_row_of_tokens_are_refused():
    """A convolutional network has feature maps instead."""
    torch.manual_seed(0)
    network = ConvNextModel(ConvNextConfig(hidden_sizes=[4, 4, 4, 4], depths=[1, 1, 1, 1], num_channels=3)).eval()

    with pytest.raises(InputError, match="row of tokens"):
        encode(wrap(network), {"pixel_values": torch.randn(1, 3, 32, 32)})


@pytest.mark.parametrize("size", [(8, 12), (8, 8)])
def test_a_model_that_can_read_no_image_says_so(size):
    """DINOv2 stretches its positions to any size, by a square root: from an oblong they cannot be stretched at all."""
    with pytest.raises(InputError, match=r"made for images of 8 × 12 pixels.*square image_size"):
        encode(image_model(Dinov2Model, Dinov2Config), {"pixel_values": torch.zeros(1, 3, *size)})


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 3, 8, 8), "8 × 8 pixels.*reads 8 × 12"),
        (torch.zeros(1, 1, 8, 12), "1 channels"),
        (torch.zeros(1, 3, 8, 12, dtype=torch.uint8), "decimals"),
        (torch.zeros(8, 12), "decimals"),
    ],
)
def test_bad_images_are_refused(pixels, message):
    """Before the network fails on them in its own words."""
    with pytest.raises(InputError, match=message):
        encode(image_model(ViTModel, ViTConfig), {"pixel_values": pixels})


def test_decimals_take_the_type_of_the_model_and_whole_numbers_keep_theirs():
    """Ids cast to half precision would name other words."""
    model = image_model(ViTModel, ViTConfig)
    model.network.double()

    image = encode(model, {"pixel_values": torch.zeros(1, 3, 8, 12)})[0]
    text = encode(bert(word_piece()), "superb")[0]

    assert image.tensors["pixel_values"].dtype == torch.float64
    assert {tensor.dtype for tensor in text.tensors.values()} == {torch.int64}


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real models lie beside the checkout")
def test_a_real_tokenizer_gives_real_words():
    """The vocabulary of BERT, with capitals, accents and a split word."""
    tokens = encode(load(str(SHARED / "models" / "sst-minilm")), "Isn't it superbly anti-climactic?")[0].tokens

    assert words_in(tokens) == ["Isn't", "it", "superbly", "anti-climactic", "?"]
    assert tokens.text[0] == "[CLS]"

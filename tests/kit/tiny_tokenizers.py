"""Small tokenizers of every convention, from vocabularies written out here: trainers are not deterministic."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

_LETTERS = "abcdefghilmnoprstuvw"
_SIGNS = ".,'!?0134"
_WORDS = ["the", "plot", "was", "thin", "but", "acting", "it", "says", "nothing", "at", "all", "people"]


def word_piece(**options: object) -> PreTrainedTokenizerFast:
    """BERT's convention: `##` continues a word, [CLS] and [SEP] around, pairs with token types."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *_LETTERS, *_SIGNS, *(f"##{sign}" for sign in _LETTERS + _SIGNS), *_WORDS, "don", "##er", "14"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, mask_token="[MASK]", model_input_names=inputs, **names, **options
    )


def byte_level(**options: object) -> PreTrainedTokenizerFast:
    """GPT-2's convention: bytes as signs, `Ġ` for the space before a word, one token for all special roles."""
    merges = [
        ("Ġ", "t"), ("h", "i"), ("hi", "n"), ("Ġt", "hin"), ("Ġ", "d"), ("o", "n"), ("'", "t"), (".", "."), ("Ã", "©"),
        ("Ġ", "i"), ("Ġi", "t"), ("e", "r"), ("er", "b"), ("Ġ", "s"), ("Ġs", "u"), ("s", "u"), ("Ġ", "c"), ("Ġc", "a"),
    ]  # fmt: skip
    pieces = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = {"bos_token": "<|end|>", "eos_token": "<|end|>", "unk_token": "<|end|>", "pad_token": "<|end|>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **options)


def sentence_piece(**options: object) -> PreTrainedTokenizerFast:
    """Unigram with `▁` for the space before a word, and <s> </s> around."""
    rare = [(sign, -8.0) for sign in f"▁Iéz{_LETTERS}{_SIGNS}"]
    common = [(f"▁{word}", -2.0) for word in (*_WORDS, "I", "s", "d")] + [("er", -3.0), ("..", -4.0)]
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    backend = Tokenizer(models.Unigram([*special, *rare, *common], unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **options)

"""Words are the units people read; they must not depend on the tokenizer."""

import pytest

from lignite.inputs.labels import number_words


def words_of(text):
    """The words as strings, in order."""
    numbers = number_words(text)
    return [
        "".join(c for c, number in zip(text, numbers, strict=True) if number == word)
        for word in range(max(numbers) + 1)
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The acting was superb.", ["The", "acting", "was", "superb", "."]),
        ("I don't, he's O’Neill", ["I", "don't", ",", "he's", "O’Neill"]),
        ("'quoted' and (well-made)", ["'", "quoted", "'", "and", "(", "well-made", ")"]),
        ("3.14 of 1,000 in the U.S.A.", ["3.14", "of", "1,000", "in", "the", "U.S.A", "."]),
        ("take2.Then", ["take2", ".", "Then"]),
        ("good,but 3, 4", ["good", ",", "but", "3", ",", "4"]),
        ("well... what?! no -- yes", ["well", "...", "what", "?", "!", "no", "--", "yes"]),
        ("snake_case  \n\t x", ["snake_case", "x"]),
        ("ጥሩ ፊልም።", ["ጥሩ", "ፊልም", "።"]),
        ("हिन्दी फ़िल्म", ["हिन्दी", "फ़िल्म"]),
        ("好好看 カタカナ", ["好", "好", "看", "カタカナ"]),
        ("cafe\u0301 re\u0301sume\u0301's", ["cafe\u0301", "re\u0301sume\u0301's"]),
        ("👩‍👩‍👧👍🏽!", ["👩‍👩‍👧", "👍🏽", "!"]),
        ("a\u200bb \ufeffc", ["a", "b", "c"]),
    ],
)
def test_words_are_what_a_reader_would_point_at(text, words):
    """Punctuation apart, what belongs inside a word kept, in scripts with and without spaces."""
    assert words_of(text) == words


def test_white_space_belongs_to_no_word():
    """One number per character, so that offsets can be looked up directly."""
    assert number_words(" a b") == [-1, 0, -1, 1]
    assert number_words("") == []

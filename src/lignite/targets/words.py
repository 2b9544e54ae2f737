"""Which tokens of an input take part, where words are replaced, removed, or compared with what people marked."""

from lignite.targets.rows import Row


def words_of(row: Row, *, keep_special: bool = True) -> list[int]:
    """List the places that may change: never the padding, and special tokens only if they are not kept."""
    tokens = row.encoded.tokens
    return [
        place
        for place, (padding, special) in enumerate(zip(tokens.padding, tokens.special, strict=True))
        if not padding and not (special and keep_special)
    ]


def removable(row: Row) -> list[int]:
    """List the places that may change while the question stays: all words but the one at which the model answers."""
    return [place for place in words_of(row) if place != row.objective.position]

"""One diverging scale for every view: blue gives against, orange gives for, neutral in between.

Blue and orange stay apart under the common forms of colour blindness, and lightness falls evenly on both sides, so
that the scale also survives a grey print as magnitude.
"""

COLD = ("#d6e6f2", "#9fc6e3", "#5b9bcd", "#2a6fae", "#0b3f75")  # from small to large
WARM = ("#fbe3cc", "#f6bd87", "#e88a3e", "#c45d16", "#7f3606")
NEUTRAL = "#f8f7f5"

# The page in a dark room: magnitude is brightness there, so that the neutral cell recedes into the background.
DARK_COLD = ("#22364a", "#2b5379", "#3a7ab4", "#6cabe4", "#c2e0fb")
DARK_WARM = ("#46321f", "#71461d", "#ab6420", "#ea9440", "#ffd9ac")
DARK_NEUTRAL = "#1d1f23"


def sign_colour(value: float) -> str:
    """The middle tone of what speaks for, or against: it stands out from black and from white."""
    return WARM[2] if value > 0 else COLD[2]


def diverging(*, dark: bool = False) -> tuple[str, ...]:
    """Eleven colours at equal steps from the most negative to the most positive value."""
    if dark:
        return (*reversed(DARK_COLD), DARK_NEUTRAL, *DARK_WARM)
    return (*reversed(COLD), NEUTRAL, *WARM)

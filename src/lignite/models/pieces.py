"""How tokenizers write the pieces of a word, and how to read them."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

Style = Literal["##", "▁", "Ġ", "</w>", "@@", "characters", "words"]
"""The mark that tells a piece inside a word from its start, or what every piece is where there is no mark."""

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def find_style(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str]) -> Style:
    """Tell how a tokenizer marks words: from its decoder, else from these pieces, else from its vocabulary."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is not None:
        state = json.dumps(json.loads(decoder.__getstate__()), ensure_ascii=False)
        signs: dict[str, Style] = {
            '"ByteLevel"': "Ġ", '"WordPiece"': "##", '"Metaspace"': "▁", '"▁"': "▁", '"BPEDecoder"': "</w>"
        }  # fmt: skip
        for sign, style in signs.items():
            if sign in state:
                return style
    return _mark_in(pieces) or _plain(pieces) or _mark_in(list(tokenizer.get_vocab())) or "words"


def readable(piece: str, style: Style) -> str:
    """Spell out the bytes of a byte-level piece; the marks of all tokenizers stay as they are.

    Byte-level vocabularies write each byte as one printable character. Here whole characters are themselves again,
    bytes of a character that was cut in two read `<0xE2>`, and white space keeps its sign, so that word starts
    (`Ġ`) and line breaks (`Ċ`) stay visible.

    Examples
    --------
    >>> readable("ĠcafÃ©", "Ġ")
    'Ġcafé'
    """
    if style != "Ġ" or any(character not in _BYTES for character in piece):
        return piece
    text = ""
    pending = b""
    for character in piece:
        byte = _BYTES[character]
        if byte > 0x20 and byte != 0x7F:
            pending += bytes([byte])
        else:
            text += _spell(pending) + character
            pending = b""
    return text + _spell(pending)


def assemble(pieces: Sequence[str | None], style: Style) -> tuple[str, list[tuple[int, int]]]:
    """Join readable pieces to a text as the marks demand; each piece's place in it comes along, (-1, -1) for None.

    Not the text that was tokenized, which cannot be known: white space, capitals and accents may differ. It
    serves to find the words.
    """
    text = ""
    spans = []
    for piece in pieces:
        if piece is None:
            text += " "
            spans.append((-1, -1))
            continue
        part = spelled(piece, style)
        start = len(text) + len(part) - len(part.lstrip())
        text += part
        spans.append((start, max(start, len(text.rstrip()))))
    return text, spans


def spelled(piece: str, style: Style) -> str:
    """Return the characters of the text that a readable piece stands for, its spaces included."""
    return _BYTE.sub(_stand_in, _WRITTEN[style](piece))


def _mark_in(pieces: Sequence[str]) -> Style | None:
    for piece in pieces:
        if len(piece) > 2 and piece.startswith("##"):
            return "##"
        if piece.startswith("▁"):
            return "▁"
        if piece.startswith("Ġ"):
            return "Ġ"
        if piece.endswith("</w>"):
            return "</w>"
        if len(piece) > 2 and piece.endswith("@@"):
            return "@@"
    return None


def _plain(pieces: Sequence[str]) -> Style | None:
    """Single characters with white space among them: every character is a token."""
    if all(len(piece) == 1 for piece in pieces) and any(piece.isspace() for piece in pieces):
        return "characters"
    return None


def _stand_in(match: re.Match[str]) -> str:
    """A byte of a longer character is a letter as far as words go."""
    byte = int(match[1], 16)
    return chr(byte) if byte < 0x80 else "x"


def _spell(piece: bytes) -> str:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else f"<0x{byte:02X}>" for byte in piece)


def _byte_alphabet() -> dict[str, int]:
    """Byte-level BPE's alphabet: printable Latin-1 stands for itself, other bytes for the signs from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_alphabet()
_WHITE = str.maketrans({"Ġ": " ", "Ċ": "\n", "ĉ": "\t", "č": "\r"})
_WRITTEN: dict[Style, Callable[[str], str]] = {
    "##": lambda piece: piece[2:] if len(piece) > 2 and piece.startswith("##") else " " + piece,
    "▁": lambda piece: piece.replace("▁", " "),
    "Ġ": lambda piece: piece.translate(_WHITE),
    "</w>": lambda piece: piece.removesuffix("</w>") + (" " if piece.endswith("</w>") else ""),
    "@@": lambda piece: piece[:-2] if piece.endswith("@@") else piece + " ",
    "characters": lambda piece: piece,
    "words": lambda piece: piece + " ",
}

"""How tokenizers write the pieces of a word, and how to read them."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

Style = Literal["##", "▁", "Ġ", "</w>", "@@", "characters", "bytes", "words"]
"""The mark that tells a piece inside a word from its start, or what every piece is where there is no mark."""

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def find_style(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str]) -> Style:
    """Tell how a tokenizer marks words: from its decoder, from a trial, from these pieces, else from its vocabulary."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is not None:
        state = json.dumps(json.loads(decoder.__getstate__()), ensure_ascii=False)
        signs: dict[str, Style] = {
            '"ByteLevel"': "Ġ", '"WordPiece"': "##", '"Metaspace"': "▁", '"▁"': "▁", '"BPEDecoder"': "</w>"
        }  # fmt: skip
        for sign, style in signs.items():
            if sign in state:
                return style
    return _plain(tokenizer, pieces) or _mark_in(pieces) or _mark_in(list(tokenizer.get_vocab())) or "words"


def readable(piece: str, style: Style) -> str:
    """Spell out the bytes of a byte-level piece; the marks of all tokenizers stay as they are.

    Byte-level vocabularies write each byte as one printable character. Here whole characters are themselves again,
    bytes of a character that was cut in two read `<0xE2>`, and white space keeps its sign, so that word starts
    (`Ġ`) and line breaks (`Ċ`) stay visible. Where every piece is a byte, those of longer characters read so, too.

    Examples
    --------
    >>> readable("ĠcafÃ©", "Ġ")
    'Ġcafé'
    """
    if style == "bytes":
        return f"<0x{ord(piece):02X}>" if len(piece) == 1 and 0x80 <= ord(piece) <= 0xFF else piece
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
    data = bytearray()
    places: list[tuple[int, int] | None] = []
    for piece in pieces:
        part = b" " if piece is None else _as_bytes(piece, style)
        places.append(None if piece is None or not part else (len(data), len(data) + len(part)))
        data += part
    text, characters = _decode(bytes(data))
    return text, [
        (-1, -1) if place is None else _without_space(text, characters[place[0]], characters[place[1] - 1] + 1)
        for place in places
    ]


def blank(piece: str, style: Style) -> bool:
    """Whether a piece is nothing but the space between words, where tokenizers write spaces as pieces of their own."""
    return style in ("characters", "bytes") and piece.isspace()


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


def _plain(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str]) -> Style | None:
    """Every byte or every character is a token: found by trial, or single characters with white space among them."""
    tried = tokenizer.tokenize("aà b")
    if tried == ["a", "Ã", "\xa0", " ", "b"]:  # à in UTF-8
        return "bytes"
    if tried == ["a", "à", " ", "b"]:
        return "characters"
    if all(len(piece) == 1 for piece in pieces) and any(piece.isspace() for piece in pieces):
        return "characters"
    return None


def _as_bytes(piece: str, style: Style) -> bytes:
    written = _WRITTEN[style](piece)
    data, place = b"", 0
    for match in _BYTE.finditer(written):
        data += written[place : match.start()].encode("utf-8", "replace") + bytes([int(match[1], 16)])
        place = match.end()
    return data + written[place:].encode("utf-8", "replace")


def _decode(data: bytes) -> tuple[str, list[int]]:
    """Decode the text of bytes, and for each byte its character; what is left of a cut character is a letter."""
    text, characters = "", []
    place = 0
    while place < len(data):
        size = next((size for size in range(1, 5) if len(_character(data[place : place + size])) == 1), 0)
        text += _character(data[place : place + size]) or "x"
        characters += [len(text) - 1] * (size or 1)
        place += size or 1
    return text, characters


def _character(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _without_space(text: str, start: int, stop: int) -> tuple[int, int]:
    """Cut white space off both ends of a span; of white space alone the place behind it is left."""
    part = text[start:stop]
    start += len(part) - len(part.lstrip())
    return start, max(start, stop - (len(part) - len(part.rstrip())))


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
    """List byte-level BPE's alphabet: printable Latin-1 stands for itself, other bytes for the signs from 256 on."""
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
    "bytes": lambda piece: piece,
    "words": lambda piece: piece + " ",
}

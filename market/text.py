"""Text of others, made fit to be stored and shown."""

import re

# Control characters (NUL among them), halves of characters, and what turns the direction of writing around.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


def clean_text(text: str, longest: int) -> str:
    """One line without what no database stores or no reader expects; what is longer is cut, and ends in `…`."""
    line = " ".join(_UNFIT.sub(" ", text[: 10 * longest]).split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"

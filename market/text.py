"""Cleans text from strangers for the database and for pages."""

import re

# Control characters (NUL among them), lone surrogates, and marks that turn the direction of writing around.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


def clean_text(text: str, longest: int) -> str:
    """Clean text to one line without control characters; longer text is cut, and ends in `…`."""
    line = " ".join(_UNFIT.sub(" ", text[: 10 * longest]).split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"

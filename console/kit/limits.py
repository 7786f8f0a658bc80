"""Limits of one request."""

MOST_CHOSEN = 500
"""Rows of one action at most, because a form must not have more hidden fields."""

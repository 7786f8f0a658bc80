"""Limits of one request."""

AT_ONCE = 500
"""Rows of one action at most, because a form must not have more hidden fields."""

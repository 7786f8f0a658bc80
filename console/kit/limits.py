"""Limits of what one request does."""

AT_ONCE = 500
"""Rows that one action is for; a form must not have more hidden fields than that."""

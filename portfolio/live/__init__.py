"""Live updates of owners' pages, by server-sent events."""

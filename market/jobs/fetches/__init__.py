"""The handlers of fetch jobs: ask the sources for quotes or bars, and store the answers."""

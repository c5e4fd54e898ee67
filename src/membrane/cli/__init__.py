"""The command line: run files in, verbs called, what they return written down and shown."""

from membrane.cli.app import main

__all__ = ["main"]

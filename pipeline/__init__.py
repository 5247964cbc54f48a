"""Nightshift's library: stages that turn audio shards into scored transcripts. Importing it does no work."""

__version__ = "0.1.0"

"""Decoding: emissions to hypotheses."""

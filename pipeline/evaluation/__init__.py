"""Evaluation of finished runs: what was heard beside what was said, counted once, and all figures derived from that."""

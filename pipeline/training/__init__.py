"""Training a small model on any corpus with texts: what made the bundled one. Knows nothing of runs."""

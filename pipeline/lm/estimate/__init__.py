"""Estimating a modified Kneser-Ney model from text: `build.py` is the whole of it, stage by stage."""

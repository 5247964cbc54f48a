"""Datasets x models x decoders as one job: what is asked for, and the runs that it takes."""

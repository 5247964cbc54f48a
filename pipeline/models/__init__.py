"""The encoders, one file per family: audio in, logits per frame out. Import a family's own file."""

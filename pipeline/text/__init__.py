"""Between arrays and strings: what a checkpoint directory says of its input (`features`) and output (`vocabulary`)."""

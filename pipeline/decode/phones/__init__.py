"""Words from phones: a lexicon and a word language model over the emissions of a phone model."""

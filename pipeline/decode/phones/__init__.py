"""Words from phones: a lexicon and a word language model over the emissions of a phone model."""

from pipeline.decode.options import SearchOptions

# The search's width where nobody sets one: on simulated emissions of 7.5 % phone errors, wider ones win nothing.
DEFAULTS = SearchOptions(beam_width=100, beam_prune_logp=-18.0, token_min_logp=-13.0)

"""How often a shard may be read from its start: into how many pieces those who are read in one pass may be cut.

Knows nothing of formats.
"""

MAX_PIECE_S = 1800.0  # half an hour decoded is 115 MB in one task
# A row group or a compressed tar can only be read from its start, so cutting one into n pieces reads it n/2 times over.
# Eight is the compromise between that and long units, as long as a piece is no longer than MAX_PIECE_S.
MAX_CUTS = 8


def is_full(num_entries: int, piece_s: float, next_s: float, num_together: int) -> bool:
    """Whether a piece of so many entries and seconds is to end before the next, of so many that one pass reads."""
    return num_entries > 0 and (piece_s + next_s > MAX_PIECE_S or num_entries * MAX_CUTS >= num_together)

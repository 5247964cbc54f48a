"""Batches: every recording once, within the budget, also when the budget shrinks half-way."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching import Budget, Queue

SIZES = st.lists(st.integers(1, 50), max_size=40)


@given(sizes=SIZES, room=st.integers(1, 80))
def test_every_item_is_in_one_batch_and_every_batch_within_the_budget(sizes: list[int], room: int) -> None:
    batches = list(Queue(enumerate(sizes), lambda item: item[1]).batches(Budget(room)))
    assert sorted(item for batch in batches for item in batch) == list(enumerate(sizes))
    for batch in batches:
        assert sum(size for _, size in batch) <= room or len(batch) == 1


@given(sizes=SIZES)
def test_the_largest_come_first_and_among_their_like(sizes: list[int]) -> None:
    """So that what is too large for the memory is met early, and recordings of a batch are of like length."""
    handed_out = [size for batch in Queue(sizes, int).batches(Budget(60)) for size in batch]
    assert handed_out == sorted(sizes, reverse=True)


@given(sizes=SIZES, room=st.integers(1, 200), carried=st.integers(1, 60))
def test_a_budget_that_is_too_much_shrinks_until_it_is_carried(sizes: list[int], room: int, carried: int) -> None:
    """As memory does it: a batch above what is carried is refused and put back."""
    budget, queue = Budget(room), Queue(sizes, int)
    done: list[int] = []
    for batch in queue.batches(budget):
        total = sum(batch)
        if total > carried and len(batch) > 1:
            before = budget.size
            budget.halve(total)
            assert budget.size <= before / 2
            queue.put_back(batch)
        else:
            done += batch
    assert done == sorted(sizes, reverse=True)

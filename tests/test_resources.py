"""Pool sizes: the rule that keeps small clusters from hanging must hold for every cluster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config as configuration
from pipeline.errors import UsageError
from pipeline.resources import TASK_CPUS, Node, plan_pools

nodes = st.lists(st.builds(Node, st.integers(0, 128), st.integers(0, 8)), min_size=1, max_size=6).filter(
    lambda nodes: any(node.cpus for node in nodes)
)
wishes = st.lists(
    st.sampled_from(["encode.actors=1", "encode.actors=7", "encode.threads=3", "decode.actors=5", "encode.device=cpu"]),
    max_size=3,
)


def place(actors: list[tuple[float, float]], nodes: list[Node]) -> list[float] | None:
    """CPUs left on each node when actors of (cpus, gpus) are placed greedily; None where one finds no place."""
    cpus, gpus = [float(node.cpus) for node in nodes], [float(node.gpus) for node in nodes]
    for need_cpus, need_gpus in actors:
        fits = [n for n in range(len(nodes)) if cpus[n] >= need_cpus and gpus[n] + 1e-9 >= need_gpus]
        if not fits:
            return None
        best = max(fits, key=lambda n: cpus[n])
        cpus[best] -= need_cpus
        gpus[best] -= need_gpus
    return cpus


@given(nodes, wishes)
def test_actors_find_a_place_and_leave_a_cpu_for_tasks(nodes, wishes):
    pools = plan_pools(configuration.load(None, wishes), nodes)
    actors = [(pools.encode.cpus, pools.encode.gpus)] * (pools.encode.actors or 0)
    actors += [(pools.decode.cpus, 0.0)] * (pools.decode.actors or 0)
    left = place(actors, nodes)
    assert left is not None
    assert max(left) >= TASK_CPUS


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_actors_of_a_small_machine_reserve_nothing(cpus):
    """Four stages of one-CPU actors on four CPUs hang without a word."""
    pools = plan_pools(configuration.load(), [Node(cpus, 0)])
    assert pools.encode.cpus == pools.decode.cpus == 0
    assert pools.encode.actors * pools.encode_threads <= cpus


def test_every_gpu_gets_an_encoder():
    pools = plan_pools(configuration.load(), [Node(16, 4), Node(16, 4), Node(32, 0)])
    assert (pools.encode.actors, pools.encode.gpus) == (8, 1.0)
    assert pools.decode.actors == 3
    assert pools.decode_threads is None  # as many as its node has CPUs: they differ


@pytest.mark.parametrize("nodes", [[Node(3, 0)], [Node(3, 1), Node(3, 0)]])
def test_decoders_take_the_cpus_that_ray_has_and_not_those_of_the_machine(nodes):
    assert plan_pools(configuration.load(), nodes).decode_threads == 3
    assert plan_pools(configuration.load(None, ["decode.decoder=kenlm"]), nodes).decode_threads == 1


def test_decoders_share_a_node_and_those_in_python_are_one_a_cpu():
    nodes = [Node(16, 1), Node(8, 0)]
    pools = plan_pools(configuration.load(None, ["decode.actors=6"]), nodes)
    assert (pools.decode.actors, pools.decode_threads) == (6, 4)
    pools = plan_pools(configuration.load(None, ["decode.actors=6", "decode.threads=3"]), nodes)
    assert pools.decode_threads == 3
    for decoder in ("kenlm", "pyctcdecode"):
        assert plan_pools(configuration.load(None, [f"decode.decoder={decoder}"]), nodes).decode.actors == 24


def test_a_gpu_that_is_asked_for_and_absent_is_said():
    with pytest.raises(UsageError, match=r"encode\.device = cuda"):
        plan_pools(configuration.load(None, ["encode.device=cuda"]), [Node(4, 0)])

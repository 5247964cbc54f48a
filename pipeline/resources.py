"""How many processes of each stage a cluster carries, and what Ray reserves for them.

The rule that keeps small clusters from hanging: actors live as long as the run and a task needs a whole CPU, so the
actors' reservations must leave one. On one machine they reserve nothing, and the operating system shares the CPUs;
on a cluster they reserve what they use, so that Ray spreads them, and leave CPUs on every node.
"""

import os
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.errors import UsageError

MAX_ENCODERS_PER_NODE = 8  # on CPUs: each holds a model of its own, so wide machines use threads instead
TASK_CPUS = 1.0


@dataclass(frozen=True)
class Node:
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Pool:
    """Where a stage runs: in so many actors, or, where that is None, in a task per unit."""

    actors: int | None
    cpus: float  # that Ray reserves for each
    gpus: float = 0.0

    def __str__(self) -> str:
        if self.actors is None:
            return "a CPU task per unit"
        kind = f"{self.gpus:g} GPU each" if self.gpus else "CPU"
        return f"{self.actors} actor{'s' if self.actors > 1 else ''}, {kind}"


@dataclass(frozen=True)
class Pools:
    tasks: Pool
    encode: Pool
    decode: Pool
    encode_threads: int


def this_machine(cpus: int | None = None) -> Node:
    import torch

    return Node(cpus or len(os.sched_getaffinity(0)), torch.cuda.device_count())


def plan_pools(config: Config, nodes: list[Node]) -> Pools:
    """Pool sizes for these nodes: those that are configured, the rest by what the nodes have."""
    workers = [node for node in nodes if node.cpus > 0]
    if not workers:
        raise UsageError("the cluster has no CPUs: tasks need at least one")
    gpus = 0 if config.encode.device == "cpu" else sum(node.gpus for node in nodes)
    if config.encode.device == "cuda" and gpus == 0:
        raise UsageError("encode.device = cuda, but the cluster has no GPU")
    decoders = config.decode.actors or len(workers)
    encoders, threads = (config.encode.actors or gpus, 1) if gpus else _cpu_encoders(config, workers)
    threads = config.encode.threads or threads
    per_node = -(-encoders // len(workers)) * (1 if gpus else threads) + -(-decoders // len(workers))
    reserve = len(workers) > 1 and all(per_node < node.cpus for node in workers)
    return Pools(
        tasks=Pool(None, TASK_CPUS),
        encode=Pool(encoders, (1 if gpus else threads) * reserve, min(1.0, gpus / encoders)),
        decode=Pool(decoders, 1.0 * reserve),
        encode_threads=threads,
    )


def _cpu_encoders(config: Config, nodes: list[Node]) -> tuple[int, int]:
    """Encoders on CPUs and the threads of each: one thread each, until there would be too many models in memory."""
    spare = 0 if len(nodes) == 1 else 2  # on a cluster, for a decoder and for tasks
    free = [max(1, node.cpus - spare) for node in nodes]
    if config.encode.actors is not None:
        return config.encode.actors, max(1, sum(free) // config.encode.actors)
    threads = config.encode.threads or max(1, max(free) // MAX_ENCODERS_PER_NODE)
    return sum(max(1, cpus // threads) for cpus in free), threads

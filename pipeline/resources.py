"""How many processes of each stage a cluster carries, and what Ray reserves for them.

The rule that keeps a run from hanging: actors live as long as the run, tasks need a whole CPU each, so the actors'
reservations must all find room and leave a CPU. Only encoders on the CPUs of several nodes reserve any, so that Ray
spreads them; elsewhere a GPU says where they go, or the operating system shares the CPUs.
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
    encode_threads: int | None  # None: as torch sees fit
    decode_threads: int | None = None  # None: all CPUs that the decoder finds on its node


def this_machine(cpus: int | None = None) -> Node:
    import torch

    return Node(cpus or len(os.sched_getaffinity(0)), torch.cuda.device_count())


def one_process(config: Config) -> Pools:
    """Everything in this process, one unit after the other, with all its CPUs for the encoder."""
    here = Pool(1, 0.0)
    return Pools(here, here, here, encode_threads=config.encode.threads, decode_threads=config.decode.threads)


def plan_pools(config: Config, nodes: list[Node]) -> Pools:
    """Pool sizes for these nodes: those that are configured, the rest by what the nodes have."""
    workers = [node for node in nodes if node.cpus > 0]
    if not workers:
        raise UsageError("the cluster has no CPUs: tasks need at least one")
    gpus = 0 if config.encode.device == "cpu" else sum(node.gpus for node in nodes)
    if config.encode.device == "cuda" and gpus == 0:
        raise UsageError("encode.device = cuda, but the cluster has no GPU")
    if gpus:
        encoders, threads = config.encode.actors or gpus, config.encode.threads or 1
        encode = Pool(encoders, 0.0, 1 / -(-encoders // gpus))
    else:
        encoders, threads = _cpu_encoders(config, workers)
        room = sum(node.cpus // threads for node in workers)
        fits = encoders <= room and encoders * threads < sum(node.cpus for node in workers)
        encode = Pool(encoders, threads if fits and len(workers) > 1 else 0.0)
    return Pools(
        tasks=Pool(None, TASK_CPUS),
        encode=encode,
        decode=Pool(*_decoders(config, workers)),
        encode_threads=threads,
        decode_threads=_decode_threads(config, workers),
    )


def _decoders(config: Config, nodes: list[Node]) -> tuple[int, float]:
    """One on each node, because its threads share the language model; in Python, where threads do not help, one a CPU.

    None reserves a CPU: they work when there are emissions, and the operating system shares the CPUs.
    """
    in_python = config.decode.decoder in ("kenlm", "pyctcdecode")
    return config.decode.actors or (sum(node.cpus for node in nodes) if in_python else len(nodes)), 0.0


def _decode_threads(config: Config, nodes: list[Node]) -> int | None:
    """The CPUs that Ray has of the node, shared out where there are more decoders than nodes.

    None, what the decoder finds on its node, only where nodes differ: a pool's actors are all made alike.
    """
    if config.decode.threads is not None:
        return config.decode.threads
    actors, _ = _decoders(config, nodes)
    if actors > len(nodes):
        return max(1, sum(node.cpus for node in nodes) // actors)
    cpus = {node.cpus for node in nodes}
    return cpus.pop() if len(cpus) == 1 else None


def _cpu_encoders(config: Config, nodes: list[Node]) -> tuple[int, int]:
    """Encoders on CPUs and the threads of each: one thread each, until there would be too many models in memory."""
    spare = 0 if len(nodes) == 1 else 2  # on a cluster, which is busy with more than encoding
    free = [max(1, node.cpus - spare) for node in nodes]
    actors, threads = config.encode.actors, config.encode.threads
    if actors is not None:
        return actors, threads or max(1, sum(free) // actors)
    threads = threads or -(-max(free) // MAX_ENCODERS_PER_NODE)
    return sum(max(1, cpus // threads) for cpus in free), threads

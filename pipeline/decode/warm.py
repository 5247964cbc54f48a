"""The compiled beam search made ready, by those who must not import numba before they need it."""


def warm_up() -> float:
    """Compile, or load what an earlier process of this node has compiled; the seconds that took."""
    from pipeline.decode.beam import warm_up as compile_all

    return compile_all()


def prepare_cache() -> None:
    """`pipeline.compiled` names the place of compiled code itself."""

"""Parquet shards as a source: audio in a column, or paths to it.

Knows nothing of how a shard is read (`shards.parquet_rows`), nor of what its rows become (`rowshards`).
"""

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.shards.parquet_rows import ParquetShard
from pipeline.sources.found import Found
from pipeline.sources.rowshards import RowShards


def recognised(found: Found, config: ReadConfig) -> bool:
    return bool(found.ending(".parquet"))


class ParquetFiles(RowShards):
    """Parquet with audio in it, or paths to audio."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        shards = list(found.listed) if found.is_one_file else found.ending(".parquet")
        if not shards:
            raise UsageError(f"{found.url}: no .parquet files in it")
        super().__init__(found, config, shards, ParquetShard)
        self.description = f"{len(shards):,} Parquet files" if len(shards) != 1 else "1 Parquet file"

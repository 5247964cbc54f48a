"""The inside of shards (tar, Arrow, Parquet): what lies where, for the sources that list it and who reads it."""

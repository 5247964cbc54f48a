"""The inside of shards, tar and Arrow: what lies where, for the sources that list it and the reader that fetches it."""

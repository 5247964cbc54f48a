"""The commands: one thin file each over the library in `pipeline`."""

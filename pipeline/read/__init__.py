"""Reading: recordings' bytes, fetched ahead of need (`fetch`), then decoded in a guarded process (`guard`)."""

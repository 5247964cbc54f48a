"""Word n-gram language models: reading every KenLM file and ARPA, looking up by memory map, estimating from text."""

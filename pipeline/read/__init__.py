"""Reading: what an input is (`sources`), where each recording lies, and its bytes as 16 kHz mono (`reader`)."""

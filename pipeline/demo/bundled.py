"""Where the bundled model, language model and corpus lie. Knows nothing of what is in them."""

from pathlib import Path

ASSETS = Path(__file__).with_name("assets")
MODEL = ASSETS / "model"
LM = ASSETS / "lm" / "4gram.bin"
CORPUS = ASSETS / "corpus"
SUITE = ASSETS / "suite.toml"  # of these three, what the demo is
FIGURES = ASSETS / "figures.json"  # error rates that the model reaches, as `demo.figures` writes them
# Each an input of its own: what lies in a folder is of one kind.
INPUTS = (CORPUS / "parquet", CORPUS / "webdataset", CORPUS / "flac", CORPUS / "manifest")

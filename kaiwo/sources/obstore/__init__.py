"""The fast engine: stores of obstore, with an fsspec source behind each."""

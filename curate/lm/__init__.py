"""Language models: load, encode, run forward, generate."""

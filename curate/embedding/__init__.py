"""Embeddings of texts: which text, by TF-IDF or a sentence-transformers model, and embedders by name."""

from curate.embedding.names import make_embedder

__all__ = ["make_embedder"]

"""Embedders by the names that people give them."""

from pathlib import Path
from typing import get_args

from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.requests import Embedder, HiddenStates, Rows, SentenceEncoder, Tfidf

POOLINGS = get_args(HiddenStates.__annotations__["pooling"])
KINDS = "hidden[:mean|last|weighted], tfidf[:dimensions], a folder or org/name on the hub of a sentence-transformers model"


def make_embedder(text: str | Embedder, model: ModelSpec, rows: Rows | None = None) -> Embedder:
    """An embedder by name: `hidden`, `hidden:last`, `hidden:weighted`, `tfidf`, `tfidf:64`, or a sentence-transformers model.

    model  whose hidden states `hidden` means. rows: what TF-IDF learns from; None: the rows that are embedded.
    An embedder comes back as it is, but for what it leaves open. Raises InputError for a name that is none of these.
    """
    if isinstance(text, Tfidf):
        return text if text.rows else Tfidf(text.dimensions, rows)
    if not isinstance(text, str):
        return text
    kind, colon, setting = text.partition(":")
    if kind == "hidden" and (setting in POOLINGS or not colon):
        return HiddenStates(model, setting or "mean")  # type: ignore[arg-type]
    if kind == "tfidf" and (not colon or (setting.isdecimal() and int(setting))):
        return Tfidf(int(setting or Tfidf.dimensions), rows)
    if kind not in ("hidden", "tfidf") and (_on_hub(text) or (text and Path(text).is_dir())):
        return SentenceEncoder(text)
    raise InputError(f"embedder {text!r} is not one of {KINDS}")


def _on_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")

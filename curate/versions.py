"""Versions of what a result depends on, for manifests."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "curate", "torch", "transformers", "peft", "datasets", "pyarrow", "polars", "numpy", "scikit-learn", "faiss-cpu",
    "sentence-transformers", "rouge-score", "sacrebleu", "lm-eval",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Package name -> version, and the Python version; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found

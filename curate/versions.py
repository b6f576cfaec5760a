"""Versions of what a result depends on, for manifests and for addresses in the store."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "curate", "torch", "transformers", "peft", "datasets", "pyarrow", "polars", "numpy", "scikit-learn", "faiss-cpu",
    "sentence-transformers", "rouge-score", "sacrebleu", "lm-eval",
)  # fmt: skip


def later_version(name: str, version: int) -> dict[str, int]:
    """What an address says of a version that did not count at first: 1 goes without saying, so that what was kept serves on."""
    return {} if version == 1 else {name: version}


def versions() -> dict[str, str]:
    """Package name -> version, and the Python version; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found

"""The store: every result under a fingerprint of what made it, as Arrow files on disk.

    VERSION                                          of the layout
    rows/<address>/spec.json, part-*.arrow           one value per row id, computed once, added to in shards
    fits/<address>/spec.json, checksums.json, ...    something learned from a set of rows
    arms/<address>/...                               the training and evaluation of one arm
    plans/<address>/...                              how a search lays out its spend, so that it goes on as it began
    hashes/*.json                                    content hashes of model files by path, size and time
    refs/*.json                                      the manifests made from this store: what `gc` keeps

An address is a hash of the spec alone. Files are written under a temporary name and renamed, so a reader never sees
a half-written one, and two processes may work in one store. Every file carries a checksum, in its name, beside it or
inside it.
"""

from curate.store.checks import Damaged, address, hash_ids
from curate.store.references import write_manifest
from curate.store.rows import RowArtifact
from curate.store.store import STORE_VERSION, Store, default_store

__all__ = ["STORE_VERSION", "Damaged", "RowArtifact", "Store", "address", "default_store", "hash_ids", "write_manifest"]

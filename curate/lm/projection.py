"""Random projections of long vectors that keep inner products (Johnson and Lindenstrauss), never held as dense matrices.

rademacher  entries +-1 / sqrt(d), each a hash of seed, place and dimension: the same on every machine, whatever the blocks, and
            the first dimensions of a wider one but for the scale. As in TRAK (arXiv 2303.14186) and LESS (2402.04333).
sparse      entries 0 but for a share 1 / sqrt(size) of them, those +-size^(1/4) / sqrt(d), by scikit-learn (Li, Hastie and
            Church 2006). Costs 1 / sqrt(size) of the other.
sketch      one entry +-1 in each row of the matrix: a count-sketch (Charikar, Chen and Farach-Colton 2002; Weinberger et al.
            2009). Place and sign are hashes, as above. The mean square error of an inner product is that of rademacher to the
            digit, (|x|^2 |y|^2 + <x, y>^2 - 2 sum x_i^2 y_i^2) / d, and an entry costs one addition instead of d. Its errors
            have longer tails where few entries make up a vector. It takes parts of vectors as they are made.
none        the vector as it is. Any other leaves it so too when it would not make it shorter.
"""

import warnings
from functools import lru_cache
from typing import Literal, Protocol

import torch

Kind = Literal["rademacher", "sparse", "sketch", "none"]

SIGNS_AT_ONCE = {"cpu": 1 << 25, "gpu": 1 << 28}  # entries of a block: 128 MB, 1 GB
PLACES_AT_ONCE = 1 << 18  # whose hashes are held at once
WORD = 64  # signs from one hash
WORDS = 1 << 16  # in a row of signs, at most


class Projection(Protocol):
    """float [B, size] -> float32 [B, dimensions], on the device of what it is given."""

    size: int
    dimensions: int

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor: ...


@lru_cache(maxsize=1)  # a sparse one takes seconds to make
def make_projection(kind: Kind, size: int, dimensions: int, seed: int = 0) -> Projection:
    """The projection of vectors with `size` entries onto `dimensions`; as they are where these are no fewer."""
    if kind == "none" or dimensions >= size:
        return Identity(size)
    if kind == "sparse":
        return Sparse(size, dimensions, seed)
    return Sketch(size, dimensions, seed) if kind == "sketch" else Rademacher(size, dimensions, seed)


class Identity:
    """No projection."""

    def __init__(self, size: int) -> None:
        self.size = self.dimensions = size

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors.float()


class Rademacher:
    """Dense signs, made a block at a time where they are used."""

    def __init__(self, size: int, dimensions: int, seed: int) -> None:
        self.size, self.dimensions, self.seed = size, dimensions, seed

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(vectors), self.dimensions, device=vectors.device)
        step = max(1, SIGNS_AT_ONCE["cpu" if vectors.device.type == "cpu" else "gpu"] // self.dimensions)
        for start in range(0, self.size, step):
            stop = min(self.size, start + step)
            found.addmm_(vectors[:, start:stop].float(), self.signs(start, stop, vectors.device))
        return found.mul_(self.dimensions**-0.5)

    def signs(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """float32 [stop - start, dimensions]: +1 and -1, of these places."""
        words = -(-self.dimensions // WORD)
        places = torch.arange(start, stop, device=device)[:, None] * WORDS + torch.arange(words, device=device)
        octets = _hashes(self.seed, places).view(torch.uint8).int()
        bits = torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device) & 1
        return torch.nn.functional.embedding(octets, 2.0 * bits - 1).flatten(1)[:, : self.dimensions]


class Sparse:
    """Few entries, kept."""

    def __init__(self, size: int, dimensions: int, seed: int) -> None:
        from scipy.sparse import csr_matrix
        from sklearn.random_projection import SparseRandomProjection

        self.size, self.dimensions = size, dimensions
        # It reads no more than the shape of what it is fitted on.
        made = SparseRandomProjection(dimensions, density="auto", random_state=seed).fit(csr_matrix((1, size)))
        self.entries = made.components_.tocsr()
        self._matrix: torch.Tensor | None = None

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        if self._matrix is None or self._matrix.device != vectors.device:
            parts = (torch.from_numpy(part) for part in (self.entries.indptr, self.entries.indices, self.entries.data))
            first, second, values = parts
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that this kind of tensor is new to torch
                self._matrix = torch.sparse_csr_tensor(
                    first, second, values.float(), size=self.entries.shape, device=vectors.device
                )
        return (self._matrix @ vectors.float().T).T.contiguous()


class Sketch:
    """Every place adds to one dimension, with a sign."""

    def __init__(self, size: int, dimensions: int, seed: int) -> None:
        self.size, self.dimensions, self.seed = size, dimensions, seed

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(vectors), self.dimensions, device=vectors.device)
        self.add(found, vectors, 0)
        return found

    def add(self, found: torch.Tensor, part: torch.Tensor, start: int) -> None:
        """Add to found [B, dimensions] what the entries of vectors from `start` on are worth: part [B, n]."""
        for at in range(0, part.shape[1], PLACES_AT_ONCE):
            piece = part[:, at : at + PLACES_AT_ONCE]
            where, signs = self.entries(start + at, start + at + piece.shape[1], part.device)
            found.scatter_add_(1, where.expand(len(piece), -1), (piece * signs).to(found.dtype))

    def entries(self, start: int, stop: int, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
        """(int64 dimension, float32 sign) of these places: by the upper half of a hash, and by its lowest bit."""
        hashes = _hashes(self.seed, torch.arange(start, stop, device=device) * WORDS)
        return (_shifted(hashes, 32) * self.dimensions) >> 32, 2.0 * (hashes & 1) - 1


# The generator splitmix64 (Steele, Lea and Flood 2014) in wrapping int64, which every device has.


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


_GOLDEN = _signed(0x9E3779B97F4A7C15)


def _shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _hashes(seed: int, places: torch.Tensor) -> torch.Tensor:
    """int64, a hash of each place."""
    key = _mixed(torch.tensor(seed + 1, device=places.device) * _GOLDEN)
    return _mixed(key + (places + 1) * _GOLDEN)


def _mixed(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)

"""The highest IFD of every cluster of instructions."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data
from curate.signals import RowScore
from curate.wording import counted
from scorers.in_clusters import InClusters


class ClusterIFD(InClusters):
    """Cluster the instructions, and keep the same share of every cluster, the highest IFD inside.

    Score: IFD as `ifd`, by perplexities. Rows above `max_ifd`, and clusters whose mean is above it, are never picked. Source:
    arXiv 2504.12687 (selection of code instructions), which keeps 40%; how many clusters is not known of it.
    """

    name: ClassVar[str] = "cluster-ifd"
    paper: ClassVar[str] = "2504.12687"
    cost: ClassVar[Cost] = "views"

    ratio: Literal["loss", "ppl"] = Field("ppl", description="of mean losses, or of perplexities")
    max_ifd: float = Field(1.0, gt=0, description="rows above it, and clusters whose mean is, are not picked")

    def quality_name(self) -> str:
        """IFD, from which nothing is held against rows above the maximum: they are barred."""
        return f"ifd:ratio={self.ratio}:max_ifd=inf"

    def barred(self, score: RowScore, clusters: np.ndarray) -> np.ndarray:
        """bool [n]: rows whose instruction hinders, and all of a cluster where it does on average."""
        rows, means = ~score.is_null & (clusters >= 0), np.zeros(clusters.max(initial=0) + 1)
        count = np.bincount(clusters[rows], minlength=len(means))
        total = np.bincount(clusters[rows], weights=score.values[rows], minlength=len(means))
        np.divide(total, count, out=means, where=count > 0)
        return rows & ((score.values > self.max_ifd) | (means[np.maximum(clusters, 0)] > self.max_ifd))

    def preference(self, signal: Any) -> np.ndarray:
        """The IFD; of rows that are barred its negative."""
        return np.where(signal.barred, -signal.values, signal.values)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How many clusters, and rows that are barred."""
        many = int(signal.barred.sum())
        barred = f"{many:,} of {counted(len(signal))} have an IFD above {self.max_ifd:g}, or are of a cluster whose mean is"
        return [*super().remarks(data, signal), *([barred] if many else [])]

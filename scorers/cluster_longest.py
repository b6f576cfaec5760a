"""The longest replies of every cluster of instructions."""

from typing import ClassVar

from curate.method import Cost
from scorers.in_clusters import InClusters


class ClusterLongest(InClusters):
    """Cluster the instructions, give each cluster its share, and take the longest replies inside.

    Score: reply tokens, as `longest`. Source: Rethinking Data Selection at Scale, arXiv 2410.09335, which finds diversity to
    matter more than quality and length to help; how many clusters, and the share of each, are choices made here.
    """

    name: ClassVar[str] = "cluster-longest"
    paper: ClassVar[str] = "2410.09335"
    cost: ClassVar[Cost] = "forward"
    scored_as: ClassVar[str] = "tokens"

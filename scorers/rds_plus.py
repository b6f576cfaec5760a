"""RDS+: the rows whose hidden states are like those of a target, late tokens weighing most."""

from typing import ClassVar

from pydantic import Field

from curate.method import Cost
from scorers.aimed import POOLING, Pooling
from scorers.nearest import Nearest


class RDSPlus(Nearest):
    """Keep the rows whose hidden states, weighted by position, are most like those of target examples.

    A row's vector is the mean of the scoring model's last states over the whole conversation with weights that grow linearly
    from the first token to the last. Score: the largest cosine with any row of the target. Source: arXiv 2503.01807.
    """

    name: ClassVar[str] = "rds-plus"
    paper: ClassVar[str] = "2503.01807"
    cost: ClassVar[Cost] = "forward"

    pooling: Pooling = Field("weighted", description=POOLING)

"""Work that fills the store row by row: passes, replies, embeddings of texts, gradients."""

from curate.fitting import Fitting
from curate.plan import Pass, Plan, RowWise
from curate.requests import Embed, Generate, Judge
from curate.work.base import RowWork
from curate.work.embeddings import Embedding
from curate.work.gradients import GradientWork
from curate.work.judging import Judging
from curate.work.passes import Passing
from curate.work.replies import Replying

__all__ = ["RowWork", "work_of", "works"]


def work_of(engine: Fitting, asked: RowWise) -> RowWork:
    """How one request of a plan is worked on."""
    if isinstance(asked, Pass):
        return Passing(engine, asked)
    if isinstance(asked, Embed):
        return Embedding(engine, asked)
    if isinstance(asked, Judge):
        return Judging(engine, asked)
    return Replying(engine, asked) if isinstance(asked, Generate) else GradientWork(engine, asked)


def works(engine: Fitting, plan: Plan) -> list[RowWork]:
    """All of a plan, in the order in which it runs."""
    return [work_of(engine, asked) for asked in plan.rowwise]

"""IFD: how little an instruction helps with its reply."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.lm.models import ModelSpec
from curate.lm.views import INSTRUCTION, RESPONSE
from curate.method import Cost, Data, Method
from curate.requests import Embed, Fit, Model, Observe, Request, Subset
from curate.selectors.kmeans import kmeans
from curate.selectors.top_k import top_k
from curate.signals import RowScore, RowVector
from curate.wording import counted

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

MIN_LOSS = 1e-3  # nats per token; a ratio to less is noise


class IFD(Method):
    """Keep the rows whose instruction helps the model least with the reply, but does help.

    Score: the mean loss of the reply behind its instruction over that of the reply alone, unitless (`ratio=ppl`: the ratio of
    the two perplexities, exp of the difference, which ranks otherwise). High is difficult; above `max_ifd` the instruction
    hinders, as where the two do not belong together, and the row is never picked. Source: From Quantity to Quality (Cherry),
    arXiv 2308.12032.

    In the paper the model that scores has first learned a few rows of many clusters (`experience=1000`); by default it is the
    model as it is, so that the pass over conversations is shared.
    """

    name: ClassVar[str] = "ifd"
    paper: ClassVar[str] = "2308.12032"
    cost: ClassVar[Cost] = "views"

    ratio: Literal["loss", "ppl"] = Field("loss", description="of mean losses, or of perplexities")
    max_ifd: float = Field(1.0, gt=0, description="rows above it are not picked")
    min_response_tokens: int = Field(10, ge=1, description="rows with fewer reply tokens are null, for their ratio is noise")
    experience: int = Field(0, ge=0, description="rows that the model learns for an epoch before it scores; 1000 in the paper")
    clusters: int = Field(100, ge=1, description="of instructions, of which these rows are drawn evenly")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The mean loss of each reply behind its instruction and alone; before it what an experienced model needs."""
        model = self._model(data, seen)
        return [self._instructions(data)] if model is None else [*self._losses(data, model), self._length(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """The ratio [n]."""
        model = self._model(data, seen)
        assert model is not None
        given, alone = (seen[request] for request in self._losses(data, model))
        score = ratio_of(given, alone, self.ratio, "reply")
        return score.null(
            seen[self._length(data)].values < self.min_response_tokens, f"fewer than {self.min_response_tokens} reply tokens"
        )

    def preference(self, signal: Any) -> np.ndarray:
        """The ratio, of rows above the maximum its negative: they are not wanted at all."""
        values = self.score(signal).values
        return np.where(values > self.max_ifd, -values, values)

    def choose(self, signal: Any, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The highest ratios that are not above the maximum."""
        return without(signal, signal.values > self.max_ifd, limit, largest=True)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How many rows are not picked for their ratio."""
        return too_high(signal.values, self.max_ifd, "an IFD", "the instruction hinders the reply")

    def _scorer(self, data: Data) -> ModelSpec:
        """The model whose losses they are, before any experience."""
        return data.model

    def _losses(self, data: Data, model: Model) -> list[Observe]:
        return [Observe(model, data.pool, "mean_loss"), Observe(model, data.pool, "mean_loss", RESPONSE)]

    def _length(self, data: Data) -> Observe:
        return Observe(self._scorer(data), data.pool, "response_tokens")

    def _instructions(self, data: Data) -> Embed:
        return Embed(data.embedder, data.pool, INSTRUCTION)

    def _model(self, data: Data, seen: Mapping[Request, Any]) -> Model | None:
        """The model that scores; None where the rows of its experience are not known yet."""
        if not self.experience:
            return self._scorer(data)
        if self._instructions(data) not in seen:
            return None
        rows = spread(
            seen[self._instructions(data)], self.experience, self.clusters, np.random.default_rng([data.seed, self.experience])
        )
        recipe = data.recipe.every_token().trained_for(1.0, data.seed)
        return Fit(self._scorer(data), Subset(data.pool, rows), recipe)


def ratio_of(given: RowScore, alone: RowScore, ratio: Literal["loss", "ppl"], what: str) -> RowScore:
    """Of mean losses [n] in nats: given / alone, or exp(given - alone). Null where either is, and for a quotient by almost 0."""
    if ratio == "ppl":
        return RowScore.of(np.exp(given.values - alone.values), alone, given)
    small = alone.values < MIN_LOSS
    found = np.divide(given.values, alone.values, out=np.zeros(len(given)), where=~small)
    return RowScore.of(found, alone, given).null(small, f"the loss of the {what} alone is below {MIN_LOSS:g}")


def without(score: RowScore, left: np.ndarray, limit: "Limit", *, largest: bool) -> "Picks":
    """The best scores but for those of the mask `left` bool [n], which is no null: there is a score."""
    picks = top_k(np.where(left, np.nan, score.values), limit, largest=largest)
    return replace(picks, nulls=int(score.is_null.sum()))


def too_high(values: np.ndarray, highest: float, what: str, why: str) -> list[str]:
    """That some rows are not picked because their score is too high, where there are any."""
    many = int((values > highest).sum())
    if not many:
        return []
    have, are = ("has", "is") if many == 1 else ("have", "are")
    return [f"{counted(many, 'row')} {have} {what} above {highest:g}, where {why}, and {are} not picked"]


def spread(vectors: RowVector, size: int, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """int64, ascending: about so many rows, as many of each k-means cluster as it has, drawn at random inside."""
    there = np.flatnonzero(~vectors.is_null)
    found = kmeans(vectors.values[there], clusters, rng)
    each = max(1, size // clusters)
    drawn = [rng.permutation(there[found == cluster])[:each] for cluster in np.unique(found)]
    return np.sort(np.concatenate(drawn))

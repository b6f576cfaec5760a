"""What a method may ask the engine for. Requests are plain values: equal requests are one piece of work.

A method asks in rounds and looks the answers up by the same values: `seen[Observe(...)]`, `seen[Fit(...)]`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from curate.lm.gradient_config import GradientConfig
from curate.lm.models import ModelSpec
from curate.lm.views import AFTER_EXAMPLE, CONVERSATION
from curate.training.config import TrainConfig


@dataclass(frozen=True)
class Rows:
    """A handle on a set of conversations: what it is for, its size, a hash of its row ids, and one of its tokens' labels."""

    role: str  # pool, target or existing
    fingerprint: str
    size: int
    labels: str | None = None  # where only some tokens count in training


class Subset:
    """Some rows of a set, in its order. index int64 [m]: their positions, ascending, none twice. ValueError otherwise."""

    def __init__(self, rows: Rows, index: Sequence[int] | np.ndarray) -> None:
        self.rows, self.index = rows, np.array(index, dtype=np.int64)
        self.index.flags.writeable = False
        flat = self.index.ndim == 1 and self.index.size > 0
        if not flat or (np.diff(self.index) <= 0).any() or self.index[0] < 0 or self.index[-1] >= rows.size:
            raise ValueError(f"a subset needs positions of the {rows.size} rows, at least one, ascending and none twice")
        self.fingerprint = hashlib.blake2b(self.index.tobytes(), digest_size=16).hexdigest()

    @property
    def role(self) -> str:
        return self.rows.role

    @property
    def size(self) -> int:
        return len(self.index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subset) and (self.rows, self.fingerprint) == (other.rows, other.fingerprint)

    def __hash__(self) -> int:
        return hash((self.rows, self.fingerprint))


class TokenWeights:
    """How much each scored token of some rows counts in a training: a float32 [R_i] per row, 0 leaves it out.

    Aligned to what `token_logprobs` and its like give of the conversation. ValueError unless finite and none negative.
    """

    def __init__(self, weights: Sequence[np.ndarray]) -> None:
        self.weights = tuple(np.array(row, dtype=np.float32) for row in weights)
        if not all(np.isfinite(row).all() and (row >= 0).all() for row in self.weights):
            raise ValueError("weights of tokens must be finite numbers, none negative")
        digest = hashlib.blake2b(np.array([len(row) for row in self.weights], dtype=np.int64).tobytes(), digest_size=16)
        for row in self.weights:
            digest.update(row.tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.weights)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenWeights) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class Pairs:
    """Rows, each behind an in-context example. index int64 [n, 2]: position of the row, position of the example."""

    def __init__(self, rows: Rows | Subset, examples: Rows | Subset, index: np.ndarray) -> None:
        self.rows, self.examples = rows, examples
        self.index = np.array(index, dtype=np.int64).reshape(-1, 2)
        self.index.flags.writeable = False
        self.fingerprint = hashlib.blake2b(self.index.tobytes(), digest_size=16).hexdigest()

    @property
    def role(self) -> str:
        return f"{self.rows.role} after {self.examples.role}"

    @property
    def size(self) -> int:
        return len(self.index)

    def _key(self) -> tuple[Rows | Subset, Rows | Subset, str]:
        return self.rows, self.examples, self.fingerprint

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pairs) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True)
class Fit:
    """A model fine-tuned from `model` on `rows` by the trainer. Answer: FittedModel.

    model   may itself be a Fit: training then goes on from what came of it, by a recipe of its own.
    tokens  how much each scored token counts, for each of the rows; None: all the same.

    With `recipe.save_checkpoints` it keeps the model at that many steps on the way, and with `recipe.save_optimizer` what
    `curate.training.checkpoints` reads beside them.
    """

    model: "ModelSpec | Fit"
    rows: Rows | Subset
    recipe: TrainConfig
    tokens: TokenWeights | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A fit's model on the way: the `number`th, from 1, of the `recipe.save_checkpoints` that it keeps. ValueError for others."""

    fit: Fit
    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.fit.recipe.save_checkpoints:
            raise ValueError(f"there is no checkpoint {self.number} of {self.fit.recipe.save_checkpoints}")


Model = ModelSpec | Fit | Checkpoint


@dataclass(frozen=True)
class Observe:
    """An observable of every row, or pair, recorded in one pass of a model over a view.

    model       may itself be a Fit, or a checkpoint of one, which is then made first.
    observable  a name in `curate.lm.observables`.
    view        a name in `curate.lm.views`; `after_example` for pairs and only for them.

    Answer: RowScore where the observable is a number, RowVector where it is a vector, RowTokens where it is a number for
    each scored token.
    """

    model: Model
    rows: Rows | Subset | Pairs
    observable: str
    view: str = CONVERSATION

    def __post_init__(self) -> None:
        if isinstance(self.rows, Pairs) != (self.view == AFTER_EXAMPLE):
            raise ValueError(f"the view {AFTER_EXAMPLE} is of pairs, and pairs have no other; asked for {self.view}")


class Examples:
    """Rows to be shown in front of each of n others. index int64 [n, k]: their positions in `rows`, in the order shown."""

    def __init__(self, rows: Rows | Subset, index: np.ndarray) -> None:
        self.rows, self.index = rows, np.array(index, dtype=np.int64)
        self.index.flags.writeable = False
        if self.index.ndim != 2 or (self.index.size and not 0 <= self.index.min() <= self.index.max() < rows.size):
            raise ValueError(f"examples need positions [n, k] of the {rows.size} rows")
        shape = np.array(self.index.shape).tobytes()
        self.fingerprint = hashlib.blake2b(shape + self.index.tobytes(), digest_size=16).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Examples) and (self.rows, self.fingerprint) == (other.rows, other.fingerprint)

    def __hash__(self) -> int:
        return hash((self.rows, self.fingerprint))


@dataclass(frozen=True)
class Ask:
    """What a model is asked where that is not a row's last question as it stands.

    behind     put behind the question.
    reply      whether the row's own reply stands between question and `behind`.
    examples   shown in front, each as its last question and reply; those that find no room are left out, the last ones first.
    attention  the layer whose attention from the question to each example is wanted; a fraction is of the depth of the model.
    """

    behind: str = ""
    reply: bool = False
    examples: Examples | None = None
    attention: int | float | None = None


@dataclass(frozen=True)
class Generate:
    """A model's own reply to the last question of each row, of at most so many tokens. Answer: Replies.

    temperature  0 is greedy. Above it the draw depends on `seed` and the row's id alone.
    """

    model: Model
    rows: Rows | Subset
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    ask: Ask | None = None


@dataclass(frozen=True)
class HiddenStates:
    """Embeds a conversation by a model's own last states, pooled over its tokens."""

    model: Model
    pooling: Literal["mean", "last", "weighted"] = "mean"

    @property
    def observable(self) -> str:
        return f"hidden_{self.pooling}"

    @property
    def label(self) -> str:
        return f"hidden:{self.pooling}"


@dataclass(frozen=True)
class SentenceEncoder:
    """Embeds a text by a sentence-transformers model: a local folder, or `org/name[@revision]` on the hub."""

    name: str

    @property
    def label(self) -> str:
        return Path(self.name).name if Path(self.name).exists() else self.name


@dataclass(frozen=True)
class Tfidf:
    """Embeds a text by its words, weighed by how rare they are and projected onto the leading `dimensions`.

    rows  what words, weights and projection are learned from; None: the rows that are embedded. Vectors compare only
          where these are the same.
    """

    dimensions: int = 256
    rows: Rows | Subset | None = None

    @property
    def label(self) -> str:
        return f"tfidf:{self.dimensions}"


Embedder = HiddenStates | SentenceEncoder | Tfidf


@dataclass(frozen=True)
class Embed:
    """A vector per row, not normalised. Answer: RowVector.

    view  a name in `curate.lm.views`. Hidden states are of its tokens; the other embedders read its text.
    """

    embedder: Embedder
    rows: Rows | Subset
    view: str = CONVERSATION


@dataclass(frozen=True)
class Gradients:
    """The gradient of each row's own mean loss with respect to low-rank adapters, projected. Answer: RowVector.

    model   a checkpoint of a fit with adapters that keeps its optimizer (`recipe.save_optimizer`), at those adapters; or a plain
            model, at adapters put on it afresh (`config.fresh`).
    ValueError for anything else, and for Adam's direction without an optimizer.
    """

    model: ModelSpec | Checkpoint
    rows: Rows | Subset
    config: GradientConfig

    def __post_init__(self) -> None:
        trained = isinstance(self.model, Checkpoint)
        if trained == (self.config.fresh is not None):
            raise ValueError("a plain model needs config.fresh, and a checkpoint has adapters of its own")
        if not trained and self.config.adam is not None:
            raise ValueError("Adam's direction needs a checkpoint, which has an optimizer's state")
        if isinstance(self.model, Checkpoint):
            recipe = self.model.fit.recipe
            if recipe.adapter != "lora" or not recipe.save_optimizer:
                raise ValueError("gradients at a checkpoint need a fit with adapters and save_optimizer")


@dataclass(frozen=True)
class Texts:
    """What each row says, as text, in a view of `curate.lm.views`; no model reads it. Answer: RowValues of str."""

    rows: Rows | Subset
    view: str = CONVERSATION


@dataclass(frozen=True)
class Column:
    """A column of the user's own, which only the user may name: it is asked for by a setting. Answer: RowValues.

    name  of the column as the pool has it; `source` is the source of each row, however it was found.
    """

    rows: Rows | Subset
    name: str


@dataclass(frozen=True)
class Prompts:
    """Which rows answer the same prompt. Answer: RowValues, a key for each row (`curate.pool.prompts`)."""

    rows: Rows


Told = Texts | Column | Prompts  # what the pool itself tells: nothing is run for it and nothing kept


@dataclass(frozen=True)
class Vocabulary:
    """The words, weights and projection of TF-IDF, learned from a view of some rows. Made for the embeddings that need it."""

    dimensions: int
    rows: Rows | Subset
    view: str


class Instead:
    """A text for each of some rows in place of its last reply; None where there is none, and so nothing to judge."""

    def __init__(self, texts: Sequence[str | None]) -> None:
        self.texts = tuple(texts)
        digest = hashlib.blake2b(digest_size=16)
        for text in self.texts:
            digest.update(b"-" if text is None else b"%d:" % len(text) + text.encode("utf-8", "surrogatepass"))
        self.fingerprint = digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instead) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


@dataclass(frozen=True)
class Judge:
    """A model's own yes or no to questions about each row. Answer: RowVector [n, questions], log p(yes) - log p(no) in nats.

    before   what stands before the row's text.
    behind   what stands behind it, a piece for each question, each ending where its answer comes; a piece begins with the
             answer that the one before it is supposed to have had.
    yes, no  words for either answer, in any of the usual spellings.
    view     `conversation`, or `instruction`: all but the replies.
    instead  what the last replies are taken to be; None: what they are.

    The text is that of the messages, each under its role; of one that is too long for the model the end is cut off.
    """

    model: Model
    rows: Rows | Subset
    before: str
    behind: tuple[str, ...]
    yes: tuple[str, ...] = ("yes",)
    no: tuple[str, ...] = ("no",)
    view: str = CONVERSATION
    instead: Instead | None = None


Request = Fit | Observe | Embed | Generate | Gradients | Judge | Texts | Column | Prompts


@dataclass(frozen=True)
class Replies:
    """The answer to a Generate. texts: null where there is none. reasons object [n]: why there is none, else None.

    mean_loss  float64 [n], nats per token of the reply under the model that gave it, NaN where there is none.
    overlap    float64 [n], F1 of its tokens and those of the row's own reply, from 0 to 1.
    own        the row's own last reply, as text.
    attention  float64 [n, k], where it was asked for: from the tokens of the question to those of each example, mean over both
               and summed over heads; NaN of an example that found no room.
    """

    texts: list[str | None]
    mean_loss: np.ndarray
    overlap: np.ndarray
    reasons: np.ndarray
    attention: np.ndarray | None = None
    own: list[str | None] = field(default_factory=list)


@dataclass(frozen=True)
class FittedModel:
    """The answer to a Fit: a folder that `AutoModelForCausalLM.from_pretrained` loads, and what making it took."""

    folder: Path
    address: str
    account: dict[str, float]  # tokens, loss_tokens, epochs, steps, seconds, flops, learning_rate of the training
    note: str | None = None  # set when a fit on other rows was kept: says how far they differ
    checkpoints: tuple[Path, ...] = ()  # `recipe.save_checkpoints` folders like it, in the order of their steps

"""curate: choose the data a language model is fine-tuned on, and find out whether the choice beats random.

import curate

pool = curate.read_pool("pool.jsonl")
picks = curate.select(pool, "lobass", budget="10%")
picks.frame                      # a polars frame: row_id, rank, score, gain, stratum, reason
verdict = curate.compare(pool, ["lobass", "longest"], budgets=["5%", "10%"], evals="dev.jsonl")
verdict.frame
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Idle OpenMP threads sleep instead of spinning: on a busy machine a training step is otherwise ten times slower.
# Read when torch is first imported, so it is set here; what the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from curate.automatic import Outcome, auto
    from curate.budget import Budget
    from curate.chain import run_recipe
    from curate.comparison import Verdict, compare, conclude
    from curate.earlier import given
    from curate.engine import Engine
    from curate.errors import CurateError, InputError
    from curate.evaluation.metrics import metric
    from curate.evaluation.tasks import Task
    from curate.lm.models import ModelSpec
    from curate.measurement import Evaluation, evaluate
    from curate.method import Method
    from curate.observation import Observed, observe
    from curate.pool import Pool, read_pool, refine
    from curate.recipe import read_recipe
    from curate.replaying import Replayed, replay
    from curate.scoring import Scores, score
    from curate.selection import Selection, select
    from curate.store import Store
    from curate.training.config import TrainConfig
    from curate.truth import Judged, judge
    from curate.tuning import train
    from curate.vectors import Embedded, embed

# Names are loaded when they are first used: `import curate` and the command line start without torch.
_HOME = {
    "Budget": "curate.budget",
    "auto": "curate.automatic",
    "Outcome": "curate.automatic",
    "Method": "curate.method",
    "ModelSpec": "curate.lm.models",
    "TrainConfig": "curate.training.config",
    "read_recipe": "curate.recipe",
    "compare": "curate.comparison",
    "conclude": "curate.comparison",
    "Verdict": "curate.comparison",
    "Engine": "curate.engine",
    "CurateError": "curate.errors",
    "InputError": "curate.errors",
    "Embedded": "curate.vectors",
    "Evaluation": "curate.measurement",
    "embed": "curate.vectors",
    "Observed": "curate.observation",
    "metric": "curate.evaluation.metrics",
    "observe": "curate.observation",
    "Pool": "curate.pool",
    "read_pool": "curate.pool",
    "refine": "curate.pool",
    "Scores": "curate.scoring",
    "Selection": "curate.selection",
    "Replayed": "curate.replaying",
    "replay": "curate.replaying",
    "score": "curate.scoring",
    "judge": "curate.truth",
    "Judged": "curate.truth",
    "select": "curate.selection",
    "Store": "curate.store",
    "Task": "curate.evaluation.tasks",
    "evaluate": "curate.measurement",
    "given": "curate.earlier",
    "run_recipe": "curate.chain",
    "train": "curate.tuning",
}
__all__ = [
    "Budget", "CurateError", "Embedded", "Engine", "Evaluation", "InputError", "Judged", "Method", "ModelSpec",
    "Observed", "Outcome", "Pool", "Replayed", "Scores", "Selection", "Store", "Task", "TrainConfig", "Verdict", "auto",
    "compare", "conclude", "embed", "evaluate", "given", "judge", "metric", "observe", "read_pool", "read_recipe", "refine",
    "replay", "run_recipe", "score", "select", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'curate' has no attribute {name!r}")

"""Recipes: YAML files of stages, each working on what the one before kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.budget import Budget
from curate.comparison import compare
from curate.comparison.design import SECOND_RATE
from curate.engine import Engine
from curate.errors import InputError, first_fault
from curate.evaluation.grammar import parse_head
from curate.files import output_folder
from curate.pool import Pool, refine
from curate.preparation import as_model, as_pool
from curate.registry import make_method
from curate.resources import data_folder
from curate.selection import select
from curate.training.config import TrainConfig
from curate.tuning import train


class SelectStage(BaseModel):
    """Keep a part of what is there: the arguments of `curate select`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str
    budget: str | int | float
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _readable(self) -> "SelectStage":
        Budget.parse(self.budget, strict=True)
        make_method(self.method, self.settings)
        return self


class TrainStage(TrainConfig):
    """Fine-tune on what is there: the settings of `curate train`."""


class CompareStage(BaseModel):
    """Compare methods on what is there: the arguments of `curate compare`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    methods: tuple[str, ...]
    budgets: tuple[str | int | float, ...] = ("10%",)
    evals: dict[str, str]
    seeds: int = 3
    tokens: int | None = None
    epochs: float | None = None
    full: bool = True
    margin: float = 0.01
    second_rate: float | None = SECOND_RATE
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _readable(self) -> "CompareStage":
        for budget in self.budgets:
            Budget.parse(budget, strict=True)
        for method in self.methods:
            make_method(method)
        for name in self.evals:
            parse_head(name)
        return self


class Stage(BaseModel):
    """One stage: exactly one of select, train, compare."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    select: SelectStage | None = None
    train: TrainStage | None = None
    compare: CompareStage | None = None

    @model_validator(mode="after")
    def _one(self) -> "Stage":
        if sum(part is not None for part in (self.select, self.train, self.compare)) != 1:
            raise ValueError("a stage is exactly one of select, train, compare")
        return self


class Recipe(BaseModel):
    """A pool, a model, and stages. Paths are relative to the recipe's folder; `@sample/pool` is the embedded sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pool: tuple[str, ...]
    model: str | None = None
    scorer_model: str | None = None
    embedder: str = "hidden"
    target: str | None = None
    existing: str | None = None
    limit: int | None = Field(None, ge=1)
    near_duplicates: float | None = Field(None, gt=0, le=1)
    decontaminate: tuple[str, ...] = ()
    cap: int | dict[str, int] | None = None
    repeat: dict[str, int] | None = None
    seed: int = Field(0, ge=0)
    stages: tuple[Stage, ...] = Field(min_length=1)
    folder: str = "."

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        """One path may stand for a list of one."""
        if not isinstance(data, Mapping):
            return data
        lists = ("pool", "decontaminate")
        return {key: (value,) if key in lists and isinstance(value, str) else value for key, value in data.items()}

    def path(self, text: str) -> str:
        """A path of the recipe as the file system has it."""
        if text.startswith("@sample/"):
            return str(data_folder() / "sample" / f"{Path(text).name}.parquet")
        if text.startswith("hub:"):
            return text
        return str(Path(self.folder) / text)


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe with YAML's safe loader. Raises InputError naming the field at fault."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the recipe {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        raise InputError(f"the recipe {path} is not YAML{f', line {mark.line + 1}' if mark else ''}: {problem}") from None
    if not isinstance(data, dict):
        raise InputError(f"the recipe {path} is not a mapping of pool, model and stages")
    try:
        return Recipe(**{**data, "folder": str(Path(path).absolute().parent)})
    except ValidationError as error:
        raise InputError(f"the recipe {path}: {first_fault(error.errors(), 'key')}") from None


def run_recipe(recipe: Recipe, *, out: str | Path, engine: Engine, overwrite: bool = False) -> list[dict[str, Any]]:
    """Run the stages in order. Each writes its folder `<number>-<verb>` in `out`; returns what each did, as text too."""
    shared: dict[str, Any] = {
        "model": None if recipe.model is None else as_model(_model_path(recipe, recipe.model)),
        "scorer_model": None if recipe.scorer_model is None else as_model(_model_path(recipe, recipe.scorer_model)),
        "embedder": _model_path(recipe, recipe.embedder),
        "target": None if recipe.target is None else recipe.path(recipe.target),
        "existing": None if recipe.existing is None else recipe.path(recipe.existing),
        "engine": engine,
    }
    pool: Pool = refine(
        as_pool([recipe.path(text) for text in recipe.pool], limit=recipe.limit),
        near_duplicates=recipe.near_duplicates,
        decontaminate=[recipe.path(text) for text in recipe.decontaminate],
        cap=recipe.cap,
        repeat=recipe.repeat,
        seed=recipe.seed,
    )
    results: list[dict[str, Any]] = []
    with output_folder(out, overwrite=overwrite) as folder:
        for number, stage in enumerate(recipe.stages, 1):
            if stage.select is not None:
                pool, done = _select(stage.select, pool, folder / f"{number}-select", shared)
            elif stage.train is not None:
                done = _train(stage.train, pool, folder / f"{number}-train", shared)
            elif stage.compare is not None:
                done = _compare(stage.compare, recipe, pool, folder / f"{number}-compare", shared)
            results.append({**done, "text": f"{number} {done['text']}"})
    return results


def _select(stage: SelectStage, pool: Pool, folder: Path, shared: dict[str, Any]) -> tuple[Pool, dict[str, Any]]:
    picked = select(pool, stage.method, budget=Budget.parse(stage.budget), settings=stage.settings, seed=stage.seed, **shared)
    picked.write(folder)
    text = f"select: {picked.summary['method']} kept {len(picked):,} of {picked.summary['rows_pool']:,} rows"
    return picked.pool.take(picked.positions).with_labels(picked.labels), {"stage": "select", "text": text, **picked.summary}


def _train(stage: TrainStage, pool: Pool, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
    recipe = TrainConfig(**stage.model_dump())
    account = train(pool, out=folder, recipe=recipe, model=shared["model"], engine=shared["engine"])
    loss = f"loss {account['first_loss']:.3f} in the first batch, {account['last_loss']:.3f} in the last"
    text = f"train: {account['tokens']:,} tokens; {loss}"
    return {"stage": "train", "text": text, **account}


def _compare(stage: CompareStage, recipe: Recipe, pool: Pool, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
    verdict = compare(
        pool,
        stage.methods,
        budgets=stage.budgets,
        evals={name: recipe.path(path) for name, path in stage.evals.items()},
        seeds=stage.seeds,
        tokens=stage.tokens,
        epochs=stage.epochs,
        full=stage.full,
        margin=stage.margin,
        second_rate=stage.second_rate,
        recipe=stage.train,
        **shared,
    )
    verdict.write(folder)
    return {"stage": "compare", "text": f"compare: {verdict.headline}", **verdict.to_json()}


def _model_path(recipe: Recipe, name: str) -> str:
    return recipe.path(name) if name.startswith(".") else name

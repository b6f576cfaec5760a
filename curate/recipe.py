"""Recipes: YAML files of stages, each working on what the one before kept. What one may say, and reading it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.budget import Budget
from curate.comparison.design import SECOND_RATE
from curate.errors import InputError, first_fault
from curate.evaluation.grammar import parse_eval, parse_head
from curate.method import Method
from curate.pool.sources import resolve
from curate.registry import label, make_method
from curate.resources import recipes, sample
from curate.training.config import TrainConfig
from curate.yamltext import MAX_BYTES, NotYaml, parse_yaml

SAMPLE = "@sample/"  # begins a path: a split of the embedded sample
EVALS = "@evals"  # among what is decontaminated: the evaluation sets of the recipe's own comparisons
STAGES, NIGHTLY = "stages", "gate"  # the key by which recipes of a kind are known
Cap = int | dict[str, int] | None
Kind = TypeVar("Kind", bound="Beside")


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


class RefineStage(BaseModel):
    """Leave out near-duplicates, overlap and what is over a cap, and repeat sources: the arguments of `curate.refine`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    near_duplicates: float | None = Field(None, gt=0, le=1)
    decontaminate: tuple[str, ...] = ()
    cap: Cap = None
    repeat: dict[str, int] | None = None
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        return one_for_a_list(data, "decontaminate")

    @model_validator(mode="after")
    def _something(self) -> "RefineStage":
        if not self.model_fields_set - {"seed"}:
            raise ValueError("say what to refine: near_duplicates, decontaminate, cap or repeat")
        return self


class TrainStage(TrainConfig):
    """Fine-tune on what is there: the settings of `curate train`."""


class CompareStage(BaseModel):
    """Compare methods on what is there: the arguments of `curate compare`.

    chain  judge what the stages before have kept, rows and tokens, against random rows of the recipe's whole pool. A text is
           what stands for it in tables. Then no methods need be named, and the budget is by default what was kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    chain: bool | str = False
    methods: tuple[str, ...] = ()
    budgets: tuple[str | int | float, ...] | None = None
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
        if not self.chain and "methods" not in self.model_fields_set:
            raise ValueError("name methods, or say chain: true to judge what the stages before have kept")
        for budget in self.budgets or ():
            Budget.parse(budget, strict=True)
        for method in self.methods:
            make_method(method)
        for name in self.evals:
            parse_head(name)
        if self.title is not None:
            make_method("given", {"title": self.title})
        return self

    @property
    def title(self) -> str | None:
        """What stands for the chain in tables; None where it is not judged."""
        return self.chain if isinstance(self.chain, str) and self.chain else "the chain" if self.chain else None


class Stage(BaseModel):
    """One stage: exactly one of refine, select, train, compare."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    refine: RefineStage | None = None
    select: SelectStage | None = None
    train: TrainStage | None = None
    compare: CompareStage | None = None

    @model_validator(mode="after")
    def _one(self) -> "Stage":
        if sum(part is not None for part in (self.refine, self.select, self.train, self.compare)) != 1:
            raise ValueError("a stage is exactly one of refine, select, train, compare")
        return self


class Beside(BaseModel):
    """What paths in a recipe mean: they are relative to its folder; `@sample/pool` is a split of the embedded sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    folder: str = "."

    def path(self, text: str) -> str:
        """A path of the recipe as the file system has it."""
        if text.startswith(SAMPLE):
            return str(sample(Path(text).name))
        if text.startswith("hub:"):
            return text
        return str(Path(self.folder) / text)

    def model_path(self, name: str) -> str:
        """A model or embedder: a path where it begins with a dot, else a name as it is."""
        return self.path(name) if name.startswith(".") else name

    def method(self, text: str, settings: Mapping[str, Any] | None = None) -> Method:
        """A method of a stage; the files that it reads are beside the recipe."""
        method = make_method(text, settings)
        if not method.inputs():
            return method
        written = method.model_dump()
        moved = {key: self.path(value) for key, value in written.items() if value in method.inputs()}
        title = {"title": label(method)} if "title" in written else {}  # as it is written, not where it lies
        return type(method)(**{**written, **title, **moved})


class Recipe(Beside):
    """A pool, a model, and stages. Paths are relative to the recipe's folder; `@sample/pool` is the embedded sample."""

    pool: tuple[str, ...]
    model: str | None = None
    scorer_model: str | None = None
    embedder: str = "hidden"
    target: str | None = None
    existing: str | None = None
    limit: int | None = Field(None, ge=1)
    near_duplicates: float | None = Field(None, gt=0, le=1)
    decontaminate: tuple[str, ...] = ()
    cap: Cap = None
    repeat: dict[str, int] | None = None
    seed: int = Field(0, ge=0)
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        return one_for_a_list(data, "pool", "decontaminate")

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        """What one stage needs of the others."""
        kept, repeated = False, False
        for number, stage in enumerate(self.stages, 1):
            if stage.compare is not None and stage.compare.chain:
                if not kept:
                    raise ValueError(f"stage {number} judges a chain, but no select or refine stage stands before it")
                if repeated:
                    raise ValueError(
                        f"stage {number} judges a chain in which a refine stage repeats sources; write repeat beside the pool, "
                        "so that it holds for random rows as well"
                    )
            kept = kept or stage.select is not None or stage.refine is not None
            repeated = repeated or bool(stage.refine and stage.refine.repeat)
        refined = [self.decontaminate, *(stage.refine.decontaminate for stage in self.stages if stage.refine)]
        if any(EVALS in paths for paths in refined) and not self.evals:
            raise ValueError(f"decontaminate: {EVALS} stands for the evaluation sets of compare stages, and there is none")
        return self

    @property
    def evals(self) -> list[tuple[str, str]]:
        """The evaluation sets of all compare stages, each once: name and path as they are written."""
        pairs = [pair for stage in self.stages if stage.compare for pair in stage.compare.evals.items()]
        return list(dict.fromkeys(pairs))

    @property
    def inputs(self) -> list[str]:
        """The paths of all that the recipe reads, as they are written."""
        found = [*self.pool, *self.decontaminate]
        for stage in self.stages:
            found += stage.refine.decontaminate if stage.refine else stage.compare.evals.values() if stage.compare else ()
        return [path for path in (*found, self.target, self.existing) if path not in (None, EVALS)]


def one_for_a_list(data: Any, *lists: str) -> Any:
    """One path may stand for a list of one."""
    if not isinstance(data, Mapping):
        return data
    return {key: (value,) if key in lists and isinstance(value, str) else value for key, value in data.items()}


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe with YAML's safe loader. Raises InputError naming the field at fault."""
    data = read_yaml(path, "pool, model and stages")
    if NIGHTLY in data and STAGES not in data:
        raise InputError(f"the recipe {path} is a nightly one: `curate schedule` runs it, once with --once")
    return parsed(Recipe, data, path)


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises InputError for any other file. what: it is a mapping of."""
    try:
        with Path(path).open("rb") as file:
            data = parse_yaml(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise InputError(f"the recipe {path} cannot be read: {error.strerror}") from None
    except NotYaml as error:
        raise InputError(f"the recipe {path}: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InputError(f"the recipe {path} is not a mapping of {what}")
    return data


def parsed(kind: type[Kind], data: Mapping[str, Any], path: str | Path) -> Kind:
    """A recipe of this kind from what its file holds. Raises InputError naming the field at fault."""
    try:
        return kind(**{**data, "folder": str(Path(path).absolute().parent)})
    except ValidationError as error:
        raise InputError(f"the recipe {path}: {first_fault(error.errors(), 'key')}") from None


def shipped(key: str = STAGES) -> dict[str, str]:
    """The recipes that ship, by name, each with the first line of its comment: those of stages, or those with another key."""
    found = {}
    for path in sorted(recipes().glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        if any(line.startswith(f"{key}:") for line in lines):
            found[path.stem] = next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
    return found


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe: the file of that name, else the one that ships under it. Raises InputError where there is none."""
    if Path(name).is_file():
        return Path(name)
    names = {**shipped(), **shipped(NIGHTLY)}
    if str(name) in names:
        return recipes() / f"{name}.yaml"
    raise InputError(f"there is no recipe {name}: no such file, and what ships is called {', '.join(names)}")


def overridden(
    recipe: Recipe,
    *,
    pool: Sequence[str] = (),
    model: str | None = None,
    evals: Sequence[str] = (),
    target: str | None = None,
    limit: int | None = None,
) -> Recipe:
    """The recipe with these in place of its own. Paths are relative to the working folder.

    evals  of all compare stages, each `FILE` or `NAME[:METRIC...]=FILE` (`curate.evaluation.grammar`).

    Raises InputError where the recipe has no use for evaluation sets, where two have one name, and where with another pool it
    would still look at the embedded sample.
    """
    changed: dict[str, Any] = {} if limit is None else {"limit": limit}
    if pool:
        changed["pool"] = tuple(here(path) for path in pool)
    if model is not None:
        changed["model"] = str(Path(model).absolute()) if Path(model).is_dir() else model
    if target is not None:
        changed["target"] = here(target)
    if evals:
        if not recipe.evals:
            raise InputError("--eval: the recipe has no compare stage, which would need evaluation sets")
        sets = eval_sets(evals)
        changed["stages"] = tuple(_with_evals(stage, sets) for stage in recipe.stages)
    found = recipe.model_copy(update=changed)
    left = [path for path in found.inputs if path.startswith(SAMPLE)]
    if pool and not any(path.startswith(SAMPLE) for path in pool) and left:
        options = dict.fromkeys("--target" if path == found.target else "--eval" for path in left)
        raise InputError(f"the recipe looks at {left[0]} of the embedded sample; name your own with {' and '.join(options)}")
    return found


def _with_evals(stage: Stage, sets: dict[str, str]) -> Stage:
    if stage.compare is None:
        return stage
    return stage.model_copy(update={"compare": stage.compare.model_copy(update={"evals": sets})})


def eval_sets(evals: Sequence[str]) -> dict[str, str]:
    """By what stands before each file, as a recipe writes it."""
    found: dict[str, str] = {}
    for text in evals:
        head, file = parse_eval(text)
        written = text.removesuffix(file).removesuffix("=") or head.name
        if head.name in {parse_head(other).name for other in found}:
            raise InputError(f"two evaluation sets are called {head.name!r}; give each its own name, NAME=FILE")
        found[written] = here(file)
    return found


def here(path: str) -> str:
    """A path of the command line, which the recipe's folder does not move; a dataset on the hub as it is."""
    if path.startswith(SAMPLE):
        return path
    if not Path(path).exists() and (first := resolve(path)[0]).format == "hub":
        return first.name
    return str(Path(path).absolute())

"""What was asked of a verb, in full and as plain values, so that a manifest is enough to ask it again (`curate.replaying`)."""

import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from curate.budget import Budget
from curate.embedding.record import EMBED_VERSION
from curate.engine import Engine
from curate.errors import InputError
from curate.evaluation.tasks import EVALUATE_VERSION, Task
from curate.lm.encode import ENCODE_VERSION
from curate.lm.gradient_config import GRADIENT_VERSION, PROJECTION_VERSION
from curate.lm.models import TOKENIZER_FILES, ModelSpec
from curate.lm.observables import FORWARD_VERSION, GENERATE_VERSION
from curate.lm.views import VIEW_VERSION
from curate.lm.weights import WEIGHT_VERSION
from curate.method import Method
from curate.pool import Pool
from curate.pool.origin import Origin
from curate.requests import HiddenStates, SentenceEncoder, Tfidf
from curate.resources import data_folder, default_model
from curate.training.config import TRAIN_VERSION, TrainConfig
from curate.work.replies import REPLY_VERSION

RECORD = 1  # raise it when the record is laid out in another way
EMBEDDED = "@curate/"  # begins the path of what comes with the package, wherever that is installed
SETTINGS = ("device", "dtype", "max_length", "refit", "trust_remote_code", "batch_tokens")  # of an engine
# The number by each function whose results are kept; another number is another result.
CODE = {
    "tokenisation and loss masks": ENCODE_VERSION, "weights of messages": WEIGHT_VERSION, "views": VIEW_VERSION,
    "forward passes": FORWARD_VERSION, "generation": GENERATE_VERSION, "replies": REPLY_VERSION, "embeddings": EMBED_VERSION,
    "gradients": GRADIENT_VERSION, "projections": PROJECTION_VERSION, "training": TRAIN_VERSION, "evaluation": EVALUATE_VERSION,
}  # fmt: skip


def asked(verb: str, engine: Engine, arguments: Mapping[str, Any], inputs: Sequence[Any] = ()) -> dict[str, Any]:
    """The record of a call for its manifest.

    verb        a function of `curate`, and `arguments` what it is to be called with beside an engine and a folder.
    inputs      pools, tasks, models and methods that the arguments only name, so that a change of them can be told.
    """
    return {
        "record": RECORD,
        "verb": verb,
        "working_folder": str(Path.cwd()),
        "arguments": {name: plain(value, engine) for name, value in arguments.items()},
        "inputs": [plain(value, engine) for value in inputs],
        "engine": {name: getattr(engine, name) for name in SETTINGS},
        "ran_on": ran_on(engine),
        "code": CODE,
    }


def ran_on(engine: Engine) -> dict[str, Any]:
    """Device, dtype of passes and threads, which numbers depend on in their last digits; the machine where no model ran."""
    found: dict[str, Any] = {"machine": platform.machine()}
    if "torch" in sys.modules:  # importing it takes seconds, and without it nothing was computed that depends on these
        import torch

        from curate.lm.models import resolve_device

        found |= {"device": resolve_device(engine.device), "dtype": engine.pass_dtype, "threads": torch.get_num_threads()}
    return found


def plain(value: Any, engine: Engine) -> Any:
    """A value as JSON has it; what is more than JSON as an object with its `kind`."""
    if isinstance(value, Mapping):
        return {str(key): plain(one, engine) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one, engine) for one in value]
    if isinstance(value, Budget):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Pool):
        return _pool(value)
    if isinstance(value, Origin):
        return _origin(value, engine)
    if isinstance(value, ModelSpec):
        return _model(value, engine)
    if isinstance(value, Method):
        return method_record(value)
    if isinstance(value, Task):
        return _task(value)
    if isinstance(value, TrainConfig):
        return {"kind": "training", **set_and_all(value)}
    if isinstance(value, (HiddenStates, SentenceEncoder, Tfidf)):
        return value.name if isinstance(value, SentenceEncoder) else value.label
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"a manifest has no place for {value!r}")


def set_and_all(model: Any) -> dict[str, Any]:
    """A pydantic model's values, and those that were given: the others were defaults, which may change."""
    return {"given": model.model_dump(mode="json", exclude_unset=True), "all": model.model_dump(mode="json")}


def method_record(method: Method) -> dict[str, Any]:
    """Name, class and settings of a method; `defaults`: the settings that were at their defaults. `files`: what it reads."""
    settings, changed = method.model_dump(mode="json"), method.model_dump(exclude_defaults=True)
    kind = type(method)
    return {
        "kind": "method",
        "name": method.name,
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "settings": settings,
        "defaults": [name for name in settings if name not in changed],
        "files": _read_by(method),
    }


def _read_by(method: Method) -> dict[str, str]:
    """The tables that a method reads by itself, and hashes of their content: absolute path -> 32 hex digits."""
    found: dict[str, str] = {}
    for given in map(Path, method.inputs()):
        for file in sorted(given.glob("*.parquet")) if given.is_dir() else [given]:
            if file.is_file():
                found[placed(str(file.absolute()))] = content(file)
    return found


def placed(path: str) -> str:
    """A path as manifests have it: absolute, but for what comes with the package."""
    try:
        return f"{EMBEDDED}{Path(path).relative_to(data_folder()).as_posix()}"
    except (ValueError, InputError):
        return path


def found_at(path: str) -> str:
    """What `placed` made of a path, where it lies here."""
    return str(data_folder() / path.removeprefix(EMBEDDED)) if path.startswith(EMBEDDED) else path


def content(file: str | Path) -> str:
    """32 hex digits: the hash of a file's bytes."""
    stat = Path(file).stat()
    return _content(str(file), stat.st_size, stat.st_mtime_ns)


@cache
def _content(file: str, size: int, changed: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _pool(pool: Pool) -> dict[str, Any]:
    origin = pool.origin
    files = [] if origin is None else [file for file in origin.files if Path(file).is_file()]
    return {
        "kind": "pool",
        "rows": len(pool),
        "fingerprint": pool.fingerprint,
        "labels": pool.labels.fingerprint if pool.labels else None,
        "policy": None if pool.policy is None else dict(pool.policy),
        "origin": None if origin is None else _origin(origin),
        "files": {placed(file): content(file) for file in files},
    }


def _origin(origin: Origin, engine: Engine | None = None) -> dict[str, Any]:
    steps = [
        {**step, "decontaminate": {name: _origin(one) for name, one in step["decontaminate"].items()}}
        if "decontaminate" in step
        else dict(step)
        for step in origin.steps
    ]
    paths = [placed(path) for path in origin.paths]
    return {"paths": paths, "columns": dict(origin.columns), "limit": origin.limit, "steps": steps}


def _model(model: ModelSpec, engine: Engine) -> dict[str, Any]:
    folder = model.folder()
    embedded = folder == default_model().resolve()
    name = None if embedded else str(Path(model.name).absolute()) if Path(model.name).exists() else model.name
    tokenizer = engine.files_hash(folder, TOKENIZER_FILES)
    return {"kind": "model", "name": name, "fingerprint": engine.model_hash(model), "tokenizer": tokenizer}


def _task(task: Task) -> dict[str, Any]:
    settings = {one.name: getattr(task, one.name) for one in fields(task)[2:]}
    return {"kind": "task", "name": task.name, "settings": settings, "version": task.how.version, "pool": _pool(task.pool)}

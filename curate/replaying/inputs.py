"""From a record back to what a verb is called with, and what of it is no longer as it was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curate.asked import TOKENIZER_FILES, content, found_at, method_record
from curate.engine import Engine
from curate.errors import InputError, first_fault
from curate.evaluation.metrics import find_metric
from curate.evaluation.tasks import Task
from curate.lm.models import ModelSpec
from curate.method import Method
from curate.pool import Pool, refine
from curate.preparation import as_model, as_pool
from curate.recipe import Recipe
from curate.registry import method_class
from curate.replaying.read import Record
from curate.training.config import OF_POLICIES, TrainConfig
from curate.wording import counted


@dataclass
class Inputs:
    """Makes the values of a record.

    gone     why something cannot be had at all, in sentences; changed: what is there but gives other results.
    since    what is not as it was and may or may not matter.
    pools    as they are now, beside what the record says of them.
    """

    record: Record
    engine: Engine
    gone: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    since: list[str] = field(default_factory=list)
    pools: list[tuple[Mapping[str, Any], Pool]] = field(default_factory=list)

    def make(self, value: Any) -> Any:
        """A value of the record; None where it cannot be had, which `gone` then says."""
        if isinstance(value, list):
            return [self.make(one) for one in value]
        if not isinstance(value, Mapping):
            return value
        kinds: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "pool": self._pool, "model": self._model, "method": self._method, "task": self._task, "training": self._training,
            "recipe": self._recipe,
        }  # fmt: skip
        kind = value.get("kind")
        if kind is None:
            return {name: self.make(one) for name, one in value.items()}
        if kind not in kinds:
            raise InputError(f"the record names a value of a kind that this curate does not know: {kind!r}")
        try:
            return kinds[kind](value)
        except InputError as error:
            self.gone.append(str(error))
            return None

    def _pool(self, said: Mapping[str, Any]) -> Pool:
        origin = said["origin"]
        if origin is None:
            raise InputError(
                f"a pool of {counted(said['rows'], 'conversation')} was given in memory, or changed after it was read: "
                "nothing says how to have it again"
            )
        pool = self._read(origin)
        self.pools.append((said, pool))
        named = ", ".join(origin["paths"][:3])
        if pool.fingerprint != said["fingerprint"]:
            self.changed.append(
                f"{named} has changed: {counted(said['rows'], 'conversation')} of fingerprint {said['fingerprint']} then, "
                f"{counted(len(pool), 'conversation')} of {pool.fingerprint} now"
            )
        elif (pool.labels.fingerprint if pool.labels else None) != said["labels"]:
            self.changed.append(f"{named} has changed: other tokens of its replies count now")
        elif (None if pool.policy is None else dict(pool.policy)) != said["policy"]:
            self.changed.append(f"{named} has changed: it was selected for another token policy")
        else:
            self.since += [
                f"{file} has changed, but holds the same conversations"
                for file, before in said["files"].items()
                if (path := Path(self._path(file))).is_file() and content(path) != before
            ]
        return pool

    def _read(self, origin: Mapping[str, Any]) -> Pool:
        paths = [self._path(path) for path in origin["paths"]]
        pool = as_pool(paths, columns=origin["columns"], limit=origin["limit"])
        for step in origin["steps"]:
            sets = {name: self._read(one) for name, one in step.get("decontaminate", {}).items()}
            pool = refine(pool, **{**step, "decontaminate": sets})
        return pool

    def _model(self, said: Mapping[str, Any]) -> ModelSpec:
        found = as_model(None if said["name"] is None else self._path(said["name"]))
        hash_, called = self.engine.model_hash(found), said["name"] or "the embedded model"
        if hash_ != said["fingerprint"]:
            self.changed.append(f"the weights of {called} have changed: fingerprint {said['fingerprint']} then, {hash_} now")
        if self.engine.files_hash(found.folder(), TOKENIZER_FILES) != said["tokenizer"]:
            self.changed.append(f"the tokenizer or chat template of {called} has changed")
        return found

    def _method(self, said: Mapping[str, Any]) -> Method:
        name, settings = said["name"], said["settings"]
        try:
            cls = method_class(name)
        except InputError as error:
            raise InputError(f"the method {name} ({said['class']}) is not installed here: {error}") from None
        try:
            method = cls(**self._moved(settings))
        except ValidationError as error:
            raise InputError(f"the method {name} no longer takes its settings: {first_fault(error.errors())}") from None
        now = method_record(method)
        for file, before in said["files"].items():
            path = Path(self._path(file))
            if not path.is_file():
                self.gone.append(f"{path}, which the method {name} reads, is gone")
            elif content(path) != before:
                self.changed.append(f"{path}, which the method {name} reads, has changed")
        if now["class"] != said["class"]:
            self.since.append(f"the method {name} is {now['class']} now, it was {said['class']}")
        for setting in settings.keys() & now["settings"].keys():
            if (setting in said["defaults"]) != (setting in now["defaults"]):
                default = cls.model_fields[setting].default
                self.since.append(
                    f"the default of the setting {setting} of {name} is {default!r} now; "
                    f"done again with {settings[setting]!r}, as then"
                )
        for setting in sorted(now["settings"].keys() - settings.keys()):
            self.since.append(
                f"the method {name} has a setting now that it had not: {setting}, by default {now['settings'][setting]!r}"
            )
        return method

    def _task(self, said: Mapping[str, Any]) -> Task:
        settings = {**said["settings"], "stop": tuple(said["settings"]["stop"])}
        if find_metric(settings["metric"]).version != said["version"]:
            self.changed.append(f"the metric {settings['metric']} is of another version now")
        return Task(said["name"], self._pool(said["pool"]), **settings)

    def _training(self, said: Mapping[str, Any]) -> TrainConfig:
        """With the defaults of then; a token policy only where one was given, for otherwise the pool's own serves."""
        given, everything = said["given"], said["all"]
        kept = {k: v for k, v in everything.items() if k in given or (v is not None and k not in OF_POLICIES)}
        self._defaults("training", given, everything, TrainConfig(**given).model_dump(mode="json"))
        try:
            return TrainConfig(**self._moved(kept))
        except ValidationError as error:
            raise InputError(f"the settings of the training are no longer taken: {first_fault(error.errors())}") from None

    def _recipe(self, said: Mapping[str, Any]) -> Recipe:
        try:
            found = Recipe(**{**self._moved(said["given"]), "folder": self._path(said["folder"])})
        except ValidationError as error:
            raise InputError(f"the recipe is no longer taken: {first_fault(error.errors(), 'key')}") from None
        now, then = found.model_dump(mode="json"), self._moved(said["all"])
        for key in (key for key in then if key not in ("folder", "stages")):
            if then[key] != now.get(key):
                self.changed.append(f"the default of {key} in recipes is {now.get(key)!r} now, it was {then[key]!r}")
        for number, (before, after) in enumerate(zip(then["stages"], now["stages"], strict=True), 1):
            if before != after:
                self.changed.append(f"the defaults of stage {number} of the recipe have changed")
        return found

    def _defaults(self, what: str, given: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for key in before.keys() & now.keys():
            if key not in given and before[key] != now[key]:
                self.since.append(f"the default of {key} in {what} is {now[key]!r} now; done again with {before[key]!r}, as then")

    def _moved(self, value: Any) -> Any:
        """A value with the absolute paths in it as they are now."""
        if isinstance(value, Mapping):
            return {name: self._moved(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._moved(one) for one in value]
        return self.record.path(value) if isinstance(value, str) else value

    def _path(self, text: str) -> str:
        return self.record.path(found_at(text))

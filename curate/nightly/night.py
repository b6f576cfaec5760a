"""One night: read, validate, score what is new, choose, hold the candidate against what is accepted, promote it or not."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from curate.budget import Budget
from curate.comparison import Verdict, compare, conclude
from curate.comparison.promotion import Promotion, better_is_lower, between, decide, level
from curate.earlier import Earlier, given, read_earlier
from curate.engine import Engine
from curate.errors import CurateError, InputError
from curate.evaluation.tasks import Task
from curate.jobs import Job
from curate.nightly.candidate import choose_candidate
from curate.nightly.incoming import Incoming, files_of, take_in
from curate.nightly.recipe import NightlyRecipe
from curate.nightly.state import Entry, State, read, write
from curate.pool import Pool
from curate.preparation import as_model, as_pool, as_tasks
from curate.store import write_manifest
from curate.training.config import TrainConfig
from curate.tuning import train
from curate.versions import versions
from curate.wording import counted, known

FORWARD = ("pass", "embed", "gradients", "replies")  # kinds of stages that run a model over rows
CANDIDATE, ACCEPTED = "candidate", "accepted"  # the arms of the comparison


class NightFailed(CurateError):
    """A night that could not be finished; `artifact` is what it was making, below the state's folder."""

    def __init__(self, artifact: str, cause: BaseException) -> None:
        said = " ".join(str(cause).split()) or type(cause).__name__
        super().__init__(f"{artifact} could not be made: {said}")
        self.artifact = artifact


@dataclass(frozen=True)
class Night:
    """What a firing did. decision: as decision.json has it. verdict: of the comparison, where one was made."""

    name: str
    folder: Path
    decision: Entry
    verdict: Verdict | None = field(default=None, repr=False)


def run_night(recipe: NightlyRecipe, *, engine: Engine, day: date | None = None) -> Night:
    """Run one night of a recipe, or go on with the last one where that was killed.

    engine  its `refit` is the recipe's from here on. day: in the night's name; today by default.

    Raises NightFailed naming what could not be made; the next night then begins anew. InputError where another night runs.
    """
    state = State(recipe.state_folder)
    for path in recipe.pool:
        if state.folder.resolve().is_relative_to(Path(recipe.path(path)).resolve()):
            raise InputError(
                f"the state {state.folder} lies in the pool {path}, which would read its own selections; move it out"
            )
    engine.refit = recipe.refit
    with state.lock():
        name, began_with = _begin(recipe, state, day or date.today())
        return _Run(recipe, engine, state, name, began_with).run()


def _begin(recipe: NightlyRecipe, state: State, day: date) -> tuple[str, Entry]:
    """The night to run and what it began with: the one that was killed, if the recipe is the same, else a new one."""
    name, digest = state.unfinished(), _digest(recipe)
    if name is not None:
        began_with = read(state.path(name) / "night.json")
        if began_with["recipe"] == digest:
            return name, began_with
        _abandon(state, name)
    accepted = state.accepted()
    began_with = {"recipe": digest, "files": files_of(recipe), "accepted": None if accepted is None else accepted.night}
    return state.begin(day, began_with), began_with


def _abandon(state: State, name: str) -> None:
    """A night that was killed and is not gone on with. Where its comparison was done, its test has been spent."""
    tests = state.ledger()
    if tests and "promoted" not in tests[-1] and (state.path(name) / "verdict").is_dir():
        state.settle({**tests[-1], "promoted": False, "reason": "the night was killed, and the recipe changed"})
    write(state.path(name) / "failed.json", {"artifact": f"nights/{name}", "reason": "it was killed, and the recipe changed"})


def _digest(recipe: NightlyRecipe) -> str:
    return hashlib.blake2b(recipe.model_dump_json().encode(), digest_size=8).hexdigest()


@dataclass
class _Run:
    """A night while it runs. What lies in its folder already is not made again."""

    recipe: NightlyRecipe
    engine: Engine
    state: State
    name: str
    began_with: Entry

    @property
    def folder(self) -> Path:
        return self.state.path(self.name)

    def run(self) -> Night:
        with self._making("gate sets"):
            gates = self._gates()
        with self._making("pool"):
            found: Incoming = self._do("read and refine the pool", lambda: self._read(gates))
        base = {"night": self.name, "accepted_before": self.began_with["accepted"], **found.account()}
        if self.state.last_decided() is not None and not found.new and not found.gone:
            return self._end(found, {**base, "promoted": False, "reason": "nothing came and nothing went since the night before"})
        accepted = self._accepted(found.pool)
        with self._making("candidate"):
            base |= self._choose(found, accepted)
        candidate = read_earlier(self.folder / CANDIDATE)
        if accepted is None:
            decision = {
                **base,
                "promoted": True,
                "reason": "nothing was accepted before, so the first selection is, without a test",
            }
            return self._end(found, decision)
        if set(candidate.row_ids) == set(accepted.row_ids):
            return self._end(found, {**base, "promoted": False, "reason": "the candidate is what is accepted"})
        entry = self._test(list(gates))
        with self._making("verdict"):
            verdict = self._compare(found.pool, accepted, gates[entry["gate"]], entry)
        assert verdict.evidence is not None
        lower = better_is_lower(verdict.evidence)
        answer = decide(between(verdict.evidence, CANDIDATE, ACCEPTED), entry["level"], lower_is_better=lower)
        result = {**entry, **_numbers(answer), "promoted": answer.promote}
        self.state.settle(result)
        reason = _reason(answer, entry)
        decision = {**base, "promoted": answer.promote, "reason": reason, "test": result, "verdict": verdict.headline}
        return self._end(found, decision, verdict)

    # Steps ---------------------------------------------------------------------------------------------------------------

    def _gates(self) -> dict[str, Task]:
        """What tests take in turn, by name: the evaluation sets, or the parts of each by row id, part after part."""
        gate = self.recipe.gate
        whole = [as_tasks({head: self.recipe.path(file)})[0] for head, file in gate.evals.items()]
        if gate.parts == 1:
            return {task.name: task for task in whole}
        found = {}
        for part in range(gate.parts):
            for task in whole:
                ids = [row_id for row_id in task.pool.row_ids if int(row_id[:8], 16) % gate.parts == part]
                if not ids:
                    raise InputError(f"no row of {task.name} falls into part {part + 1} of {gate.parts}; take fewer parts")
                name = f"{task.name}-{part + 1}-of-{gate.parts}"
                found[name] = replace(task, name=name, pool=task.pool.subset(ids))
        return found

    def _read(self, gates: dict[str, Task]) -> Incoming:
        before = self.state.last_decided()
        folder = None if before is None else self.state.path(before)
        accepted = self._accepted_before()
        return take_in(
            self.recipe,
            self.began_with["files"],
            gates,
            before=() if folder is None else (folder / "rows.txt").read_text().split(),
            files_before=() if folder is None else read(folder / "night.json")["files"],
            accepted=() if accepted is None else accepted.row_ids,
        )

    def _accepted_before(self) -> Earlier | None:
        night = self.began_with["accepted"]
        return None if night is None else read_earlier(self.state.path(night) / CANDIDATE)

    def _accepted(self, pool: Pool) -> Earlier | None:
        """What is in force, as far as the pool still has it; None where nothing is left."""
        before = self._accepted_before()
        if before is None:
            return None
        there = set(pool.row_ids)
        left = tuple(row_id for row_id in before.row_ids if row_id in there)
        if len(left) < len(before.row_ids):
            gone = len(before.row_ids) - len(left)
            self.engine.note(
                f"{counted(gone)} of the accepted selection are not in the pool any more, and it is judged without them"
            )
        return replace(before, row_ids=left) if left else None

    def _choose(self, found: Incoming, accepted: Earlier | None) -> Entry:
        """Make the candidate's folder, if it is not there; what its manifest says of the work."""
        recipe, folder = self.recipe, self.folder / CANDIDATE
        if not folder.is_dir():
            target = None if recipe.target is None else as_pool(recipe.path(recipe.target))
            scorer = None if recipe.scorer_model is None else as_model(recipe.model_path(recipe.scorer_model))
            method = recipe.method(recipe.select.method, recipe.select.settings)
            chosen = choose_candidate(
                found.pool,
                method,
                budget=Budget.parse(recipe.select.budget),
                accepted=accepted,
                keep=recipe.keep,
                engine=self.engine,
                model=self._model,
                scorer_model=scorer,
                target=target,
                embedder=recipe.model_path(recipe.embedder),
                seed=recipe.select.seed,
            )
            self._do("write the candidate", lambda: chosen.write(folder))
        made = json.loads((folder / "manifest.json").read_bytes())
        forward = [stage for stage in made["stages"] if stage["kind"] in FORWARD]
        return {
            "rows_selected": made["counts"]["selected"],
            "rows_kept": made["counts"].get("kept_rows", 0),
            "rows_forwarded": sum(stage["computed_rows"] for stage in forward),
            "rows_reused": sum(stage["reused_rows"] for stage in forward),
            "tokens_forwarded": sum(stage["tokens"] for stage in forward),
            "tokens_trained_to_score": sum(stage["tokens"] for stage in made["stages"] if stage["kind"] == "train"),
            "fits": made["fits"],
            "notes": made["notes"],
        }

    def _test(self, gates: Sequence[str]) -> Entry:
        """The test of this night, entered in the ledger before anything of it is known; where it was begun, that very one."""
        gate, number = self.recipe.gate, self.state.next_test(self.name)
        return self.state.spend(
            {
                "test": number,
                "night": self.name,
                "against": self.began_with["accepted"],
                "gate": gates[(number - 1) % len(gates)],
                "level": level(number, gate.alpha, gate.spending),
                "spending": gate.spending,
                "alpha": gate.alpha,
            }
        )

    def _compare(self, pool: Pool, accepted: Earlier, gate: Task, entry: Entry) -> Verdict:
        """Accepted, candidate and random rows at equal tokens; read from the night's folder where that was done already."""
        folder, asked = self.folder / "verdict", self.recipe.gate
        if folder.is_dir():
            return conclude(folder)
        candidate = read_earlier(self.folder / CANDIDATE)
        verdict = compare(
            pool,
            [given(accepted, ACCEPTED), given(candidate, CANDIDATE)],
            budgets=[max(len(accepted.row_ids), len(candidate.row_ids))],
            evals=[gate], seeds=asked.seeds, tokens=asked.tokens, epochs=asked.epochs, recipe=asked.train, model=self._model,
            engine=self.engine, full=False, second_rate=None, matched="none", controls=("random",),
        )  # fmt: skip
        self._do("write the verdict", lambda: verdict.write(folder))
        return verdict

    def _train(self) -> bool:
        """Train the model that is handed out with a promoted selection, if the recipe asks for one."""
        if self.recipe.train is None:
            return False
        folder = self.folder / "model"
        with self._making("model"):
            if not folder.is_dir():
                config = TrainConfig(**self.recipe.train.model_dump(exclude_unset=True))
                asked = {"out": folder, "model": self._model, "recipe": config, "engine": self.engine}
                job = Job("fit", "train the model that is handed out", lambda: train(self.folder / CANDIDATE, **asked))
                self.engine.executor.run([job])
        return True

    def _end(self, found: Incoming, decision: Entry, verdict: Verdict | None = None) -> Night:
        """Promote, and write down what was decided: the last thing that a night does."""
        if decision["promoted"]:
            model = self._train()
            decision = {**decision, "model": f"nights/{self.name}/model" if model else None}
            self._do("promote the candidate", lambda: self.state.accept(self.name, model=model))

        def keep() -> None:
            about = {"curate": versions(), "recipe": self.recipe.model_dump(mode="json"), "files": self.began_with["files"]}
            work = {"stages": [vars(stage) for stage in self.engine.stages], "notes": self.engine.notes}
            (self.folder / "rows.txt").write_text("\n".join(found.read.row_ids) + "\n")
            write_manifest(self.folder / "manifest.json", {**about, **work, "store": self.engine.store.provenance()})
            write(self.folder / "decision.json", decision)

        self._do("write the decision", keep)
        return Night(self.name, self.folder, decision, verdict)

    # How steps are run -----------------------------------------------------------------------------------------------------

    @property
    def _model(self) -> Any:
        return as_model(None if self.recipe.model is None else self.recipe.model_path(self.recipe.model))

    def _do(self, name: str, step: Callable[[], Any]) -> Any:
        """Run a step as a job of its own, which the executor tries again where that may help."""
        [result] = self.engine.executor.run([Job("night", name, step)])
        return result

    @contextmanager
    def _making(self, artifact: str) -> Iterator[None]:
        """What fails inside is a failure of this artifact, which is taken down in failed.json and said."""
        try:
            yield
        except Exception as error:
            where = f"nights/{self.name}/{artifact}" if artifact in (CANDIDATE, "verdict", "model") else f"the {artifact}"
            failed = NightFailed(where, error)
            write(self.folder / "failed.json", {"artifact": where, "reason": str(failed)})
            raise failed from error


def _numbers(answer: Promotion) -> Entry:
    """The answer for JSON, which has no NaN."""
    return {"gain": answer.gain, "low": known(answer.low), "p_value": known(answer.p_value)}


def _reason(answer: Promotion, entry: Entry) -> str:
    """Why, in a sentence. Numbers are in the unit of the gate's metric."""
    size = f"{'better' if answer.gain > 0 else 'worse'} than what is accepted by {abs(answer.gain):.4f} on {entry['gate']}"
    if answer.promote:
        return f"the candidate is {size}, and at level {answer.level:.2g} surely by more than {answer.low:.4f}"
    if known(answer.low) is None:
        return f"the candidate is {size}, and nothing is known of how that varies: give the gate more rows"
    if answer.gain <= 0:
        return f"the candidate is {size}"
    return f"the candidate is {size}, which at level {answer.level:.2g} may be chance: it takes {answer.gain - answer.low:.4f}"

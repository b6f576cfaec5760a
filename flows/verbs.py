"""A flow for each verb that does long work. The library's function does it; its jobs become the flow's tasks."""

from typing import Any

from prefect import Flow, flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

import curate
from curate.comparison.tables import table_row
from curate.lm.models import resolve_device
from curate.progress import shown_on
from flows.cluster import executor
from flows.progress import ProgressArtifact

Options = dict[str, Any]


def make_engine(options: Options) -> curate.Engine:
    """An engine whose jobs are tasks. options: of `curate.Engine`, `store` as a path; `cluster`: a Cluster for their pieces."""
    device = resolve_device(options.get("device", "auto"))
    given = {**options, "store": curate.Store(options.get("store"))}
    runs = executor(device, given.pop("cluster", None))
    return curate.Engine(**given, executor=runs)


@flow(name="score", flow_run_name="score the pool", validate_parameters=False, persist_result=False)
def score(engine: Options, arguments: Options) -> Any:
    """`curate.score` with its jobs as tasks."""
    return curate.score(engine=make_engine(engine), **arguments)


@flow(name="observe", flow_run_name="observe the pool", validate_parameters=False, persist_result=False)
def observe(engine: Options, arguments: Options) -> Any:
    """`curate.observe` with its jobs as tasks."""
    return curate.observe(engine=make_engine(engine), **arguments)


@flow(name="embed", flow_run_name="embed the pool", validate_parameters=False, persist_result=False)
def embed(engine: Options, arguments: Options) -> Any:
    """`curate.embed` with its jobs as tasks."""
    return curate.embed(engine=make_engine(engine), **arguments)


@flow(name="select", flow_run_name="select from the pool", validate_parameters=False, persist_result=False)
def select(engine: Options, arguments: Options, out: str | None = None) -> Any:
    """`curate.select` with its jobs as tasks; what was picked as an artifact, and in the folder `out` where one is named."""
    selection = curate.select(engine=make_engine(engine), **arguments)
    if out is not None:
        selection.write(out)
    create_table_artifact(
        table=[{"what": key, "value": str(value)} for key, value in selection.summary.items()],
        key="selection",
        description=f"{selection.summary['method']} at {selection.summary['budget']}",
    )
    return selection


@flow(name="compare", flow_run_name="compare selections", validate_parameters=False, persist_result=False)
def compare(engine: Options, arguments: Options, out: str | None = None) -> Any:
    """`curate.compare` with its jobs as tasks; the verdict as artifacts, and in the folder `out` where one is named."""
    with shown_on(ProgressArtifact("verdict-progress")):
        verdict = curate.compare(engine=make_engine(engine), **arguments)
    if out is not None:
        verdict.write(out)
    create_table_artifact(table=[table_row(arm) for arm in verdict.arms], key="verdict-table", description=verdict.headline)
    create_markdown_artifact(markdown=verdict.to_markdown(), key="verdict", description=verdict.headline)
    return verdict


@flow(name="auto", flow_run_name="search for a selection", validate_parameters=False, persist_result=False)
def auto(engine: Options, arguments: Options) -> Any:
    """`curate.auto` with its jobs as tasks; the ladder and the answer as artifacts."""
    with shown_on(ProgressArtifact("auto-progress")):
        outcome = curate.auto(engine=make_engine(engine), **arguments)
    create_table_artifact(table=outcome.frame.to_dicts(), key="ladder", description=outcome.sentence)
    return outcome


@flow(name="recipe", flow_run_name="run a recipe", validate_parameters=False, persist_result=False)
def run_recipe(engine: Options, arguments: Options) -> Any:
    """`curate.run_recipe` with its jobs as tasks."""
    return curate.run_recipe(engine=make_engine(engine), **arguments)


FLOWS: dict[str, Flow[..., Any]] = {
    "score": score,
    "observe": observe,
    "embed": embed,
    "select": select,
    "compare": compare,
    "auto": auto,
    "run_recipe": run_recipe,
}

"""Run events as the official client spells them: https://openlineage.io/docs/spec/object-model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from openlineage.client import facet_v2 as facets
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState, set_producer

from frazil import __version__
from frazil.lineage import RunRef

State = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL"]
JobType = Literal["LANDING", "REPAIR", "PIPELINE", "STEP", "TRANSFORMATION", "MODEL", "SEED", "TEST", "QUALITY", "SUITE"]
PRODUCER = f"urn:frazil:{__version__}"
_MESSAGE = 4_000

set_producer(PRODUCER)


def run_event(
    state: State,
    run: RunRef,
    kind: JobType,
    at: datetime | None = None,
    *,
    above: RunRef | None = None,
    datasets: tuple[Sequence[InputDataset], Sequence[OutputDataset]] = ((), ()),
    error: str | None = None,
    job: Mapping[str, facets.JobFacet] | None = None,
) -> RunEvent:
    """One transition of a run.

    Args:
        state: To where.
        run: The run and its job.
        kind: What the job is; stands in its `jobType` facet.
        at: When it happened; default now.
        above: The run that it is a part of.
        datasets: What it reads, and what it writes.
        error: Why it failed; at most 4,000 characters of it are told.
        job: Further facets of the job.
    """
    told: dict[str, facets.RunFacet] = {"processing_engine": facets.processing_engine_run.ProcessingEngineRunFacet(__version__, "frazil")}
    if above is not None:
        told["parent"] = _parent(above)
    if error is not None:
        told["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(error[:_MESSAGE], "PYTHON")
    inputs, outputs = datasets
    type_of = facets.job_type_job.JobTypeJobFacet(processingType="BATCH", integration="FRAZIL", jobType=kind)
    return RunEvent(
        eventType=RunState(state),
        eventTime=(at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="microseconds"),
        run=Run(run.run_id, told),
        job=Job(run.namespace, run.job, {"jobType": type_of, **(job or {})}),
        inputs=list(inputs),
        outputs=list(outputs),
    )


def _parent(above: RunRef) -> facets.parent_run.ParentRunFacet:
    from openlineage.client.generated import parent_run

    root = above.root or above
    return parent_run.ParentRunFacet(
        run=parent_run.Run(above.run_id),
        job=parent_run.Job(above.namespace, above.job),
        root=parent_run.Root(run=parent_run.RootRun(root.run_id), job=parent_run.RootJob(root.namespace, root.job)),
    )

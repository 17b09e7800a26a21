"""One run from events and a model to a whole generation. Plain functions; who carries them out is passed in."""

import dataclasses
import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from tastemaker.artefacts.v1 import lists_pb2
from tastemaker_jobs.errors import DataError, ListsError, WorkerLostError
from tastemaker_jobs.precompute import generations
from tastemaker_jobs.precompute.buckets import Dealt, deal, summary_of
from tastemaker_jobs.precompute.event_files import event_tables
from tastemaker_jobs.precompute.generations import CONTRACT_VERSION, claim, newest_whole, only_run, read_manifest
from tastemaker_jobs.precompute.named import catalogue_ids, id_tables, named_users, vocabulary
from tastemaker_jobs.precompute.plan import Parent, Plan, shard_name
from tastemaker_jobs.precompute.popular import count_bucket, segment_tables, write_popular
from tastemaker_jobs.precompute.progress import ShardEvent, ShardReport, unheard
from tastemaker_jobs.precompute.questions import write_questions
from tastemaker_jobs.precompute.request import Kind, Precompute
from tastemaker_jobs.precompute.shards import ShardRecord, read_record
from tastemaker_jobs.precompute.steps import Steps
from tastemaker_jobs.precompute.whole_files import write_text
from tastemaker_jobs.publishing.code_version import code_version

__all__ = ["Outcome", "precompute"]

_DAY_MICROS = 86_400_000_000
_EVENTS_OF_A_SHARD, _ITEMS_OF_A_SHARD = 1_000_000, 20_000
_FEWEST_SHARDS, _MOST_SHARDS = 8, 10_000
_MOST_ATTEMPTS = 4
_KEY = {
    Kind.USERS: lists_pb2.LIST_KEY_USER,
    Kind.SIMILAR: lists_pb2.LIST_KEY_ITEM,
    Kind.POPULAR: lists_pb2.LIST_KEY_SEGMENT,
}


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    folder: Path
    """Of the generation."""
    manifest: lists_pb2.ListsManifest
    """As it lies there."""
    computed: int
    """Lists that this run computed."""
    carried: int
    """Lists that it took from the parent, in the shards that it wrote."""
    shards_kept: int
    """Shards that a run before had finished."""
    seconds: float
    """From the first shard to the last."""


def precompute(
    request: Precompute, steps: Steps, report: Callable[[str], None], *, shard_report: ShardReport = unheard
) -> Outcome:
    """Compute all lists, or what a run of the same request has left to do, and make the generation whole.

    Args:
        request: What is wanted.
        steps: Carries out what can be done side by side.
        report: Told in a few words how far it is.
        shard_report: Told of each shard.

    Raises:
        DataError: A file cannot be used.
        ListsError: The lists folder cannot be written, or there is no generation to go on from.
        ModelLoadError: The model cannot be loaded.
        ContractError: It does not keep the contract.
        WorkerLostError: A worker died at one shard again and again.
    """
    with only_run(request.folder):
        plan, others = _plan(request)
        for other in others:
            report(f"generation {other} was begun with other inputs and never finished; its folder can be deleted")
        if plan.generation.is_resumed:
            report(f"going on with generation {plan.generation.number}")
        plan = _prepare(plan, steps, report)
        began = time.perf_counter()
        if request.kind is Kind.POPULAR:
            found = _popular(plan, steps, shard_report)
        else:
            found = _scored(plan, steps, report, shard_report)
        seconds = time.perf_counter() - began
        records, kept = found
        new = [record for number, record in sorted(records.items()) if number not in kept]
        manifest = _manifest(plan, [record for _, record in sorted(records.items())])
        if not manifest.list_count:
            left_out = ", ".join(f"{reason} {count}" for reason, count in sorted(manifest.skipped.items()))
            raise DataError(f"Not one list came of it ({left_out or 'nobody was asked'}). Nothing was published.")
        generations.publish(plan.generation, manifest)
        if removed := generations.remove_older(request.folder, keep=request.keep):
            report(f"removed older generations: {', '.join(map(str, removed))}")
    carried = sum(record.carried for record in new)
    computed = sum(record.list_count for record in new) - carried
    return Outcome(plan.generation.folder, manifest, computed, carried, len(kept), seconds)


def _plan(request: Precompute) -> tuple[Plan, list[int]]:
    """What to write where; and what other runs have left."""
    parent = _parent(request) if request.incremental else None
    shards = parent[1] if parent else _shards(request)
    fingerprint = request.fingerprint(shards=shards, parent=int(parent[0].folder.name) if parent else 0)
    generation, others = claim(request.folder, fingerprint=fingerprint, settings=request.settings())
    return Plan(request, generation, shards, parent[0] if parent else None), others


def _parent(request: Precompute) -> tuple[Parent, int]:
    """The generation to go on from, and how many shards it has.

    Raises:
        ListsError: There is none, or it was computed in another way.
    """
    without = "Run without --incremental."
    folder = newest_whole(request.folder)
    if folder is None:
        raise ListsError(f"{request.folder} has no whole generation to go on from. {without}")
    manifest, settings, wanted = read_manifest(folder), generations.settings_of(folder), request.settings()
    for name in sorted(settings.keys() | wanted.keys()):
        if settings.get(name) != wanted.get(name):
            raise ListsError(
                f"{folder} was computed with {name} {settings.get(name)}, and now it is {wanted.get(name)}: their lists"
                f" do not go together. {without}"
            )
    position = request.events.position if request.events else 0
    if manifest.event_log_position > position:
        raise ListsError(
            f"{folder} knows events up to position {manifest.event_log_position}, and the export ends at {position}."
            " Export the events again."
        )
    if request.shards not in (None, len(manifest.shards)):
        raise ListsError(f"{folder} has {len(manifest.shards)} shards, not {request.shards}. Leave --shards out.")
    return Parent(folder, manifest.event_log_position), len(manifest.shards)


def _shards(request: Precompute) -> int:
    if request.shards is not None:
        return request.shards
    if request.kind is Kind.SIMILAR:
        count = len(_item_keys(request)) / _ITEMS_OF_A_SHARD
    else:
        count = (request.events.event_count or 0) / _EVENTS_OF_A_SHARD if request.events else 0
    return min(_MOST_SHARDS, max(_FEWEST_SHARDS, round(count)))


def _prepare(plan: Plan, steps: Steps, report: Callable[[str], None]) -> Plan:
    """Deal what is known to buckets, unless a run before has."""
    request = plan.request
    if request.kind is Kind.SIMILAR:
        _deal_once(plan, plan.keys, "key", "keys", lambda: id_tables(iter(_item_keys(request))))
    if request.audience.file is not None:
        users = request.audience.file
        _deal_once(plan, plan.keys, "key", "keys", lambda: id_tables(named_users(users)))
    if request.segments is not None:
        segments = request.segments
        _deal_once(plan, plan.segments, "user_id", "segments", lambda: segment_tables(segments))
    if request.catalogue is not None:
        _write_departed(plan, request.catalogue)
    if request.events is None or request.kind is Kind.SIMILAR:
        return plan
    report("dealing events by user")
    sources = range(len(request.events.paths))
    todo = [number for number in sources if summary_of(plan.events, _source(number)) is None]
    for _ in steps.each(functools.partial(_deal_events, plan), todo):
        pass
    dealt = [found for number in sources if (found := summary_of(plan.events, _source(number)))]
    if not sum(found.rows for found in dealt):
        raise DataError(f"{request.events.paths[0].parent} has no events. Send feedback first, or give --ratings.")
    newest = request.now_micros if request.now_micros is not None else max(found.newest for found in dealt)
    days = request.audience.active_days
    since = newest - days * _DAY_MICROS if days else None
    return Plan(request, plan.generation, plan.shards, plan.parent, active_since_micros=since, now_micros=newest)


def _deal_events(plan: Plan, number: int) -> Dealt:
    request = plan.request
    if request.events is None:
        raise ValueError("there are no events to deal")
    return deal(
        event_tables(request.events, number, consuming=request.consuming),
        key="user_id",
        buckets=plan.shards,
        folder=plan.events,
        aside=plan.generation.drafts,
        source=_source(number),
        times="event_time_micros",
    )


def _deal_once(plan: Plan, folder: Path, key: str, source: str, tables: Callable[[], Iterator[object]]) -> None:
    if summary_of(folder, source) is None:
        deal(tables(), key=key, buckets=plan.shards, folder=folder, aside=plan.generation.drafts, source=source)


def _write_departed(plan: Plan, catalogue: Path) -> None:
    """For a model, which of its items are in no catalogue; for popular lists the catalogue itself."""
    listed = catalogue_ids(catalogue)
    if plan.request.model is None:
        write_text(plan.catalogue, json.dumps(listed), aside=plan.generation.drafts)
        return
    known = set(listed)
    gone = [item for item in vocabulary(plan.request.model.folder) if item not in known]
    write_text(plan.departed, "".join(f"{item}\n" for item in gone), aside=plan.generation.drafts)


def _item_keys(request: Precompute) -> list[str] | tuple[str, ...]:
    if request.catalogue is not None:
        return catalogue_ids(request.catalogue)
    if request.model is None:
        raise ValueError("a model is needed")
    return vocabulary(request.model.folder)


def _scored(
    plan: Plan, steps: Steps, report: Callable[[str], None], shard_report: ShardReport
) -> tuple[dict[int, ShardRecord], frozenset[int]]:
    """The records of all shards; and which of them a run before had finished."""
    records = {number: found for number in range(plan.shards) if (found := read_record(plan, number))}
    kept = frozenset(records)
    if kept:
        report(f"{len(kept)} of {plan.shards} shards are finished already")
    todo = [number for number in range(plan.shards) if number not in kept]
    shard_report(ShardEvent(plan.request.name, len(kept), plan.shards))
    began, lists = time.perf_counter(), 0
    before, load = functools.partial(write_questions, plan), functools.partial(_load, plan)
    for record in steps.with_model(before, load, todo):
        number = int(record.file.removeprefix("shard-").removesuffix(".parquet"))
        records[number] = record
        computed = record.list_count - record.carried
        shard_report(
            ShardEvent(plan.request.name, len(records), plan.shards, computed, record.carried, retries=record.retries)
        )
        lists += computed
        rate = lists / (time.perf_counter() - began)
        carried = f", {record.carried:,} of them taken over" if record.carried else ""
        report(
            f"{len(records)} of {plan.shards} shards; {record.file} has {record.list_count:,} lists{carried};"
            f" {rate:,.0f} lists/s"
        )
    return records, kept


def _load(plan: Plan) -> Callable[[int], ShardRecord]:
    from tastemaker_jobs.quiet import start_tensorflow

    start_tensorflow()
    from tastemaker_jobs.precompute.scoring import Scorer  # here, so that TensorFlow is in the workers alone

    return functools.partial(_score, plan, Scorer(plan).score)


def _score(plan: Plan, score: Callable[[int], ShardRecord], number: int) -> ShardRecord:
    """Score a shard, unless it has killed its worker too often: Ray would begin it again for ever."""
    attempts = plan.attempts(number)
    attempts.parent.mkdir(exist_ok=True)
    with attempts.open("a+") as file:
        retries = file.tell()
        if retries >= _MOST_ATTEMPTS:
            raise WorkerLostError(
                f"{shard_name(number)} was begun {_MOST_ATTEMPTS} times, and its worker was lost each time. Is memory"
                " short? Give a smaller --batch-size. The same command again goes on with the shards that are left."
            )
        file.write("x")
    # A worker that was lost after its last write, before its answer came home, has left nothing to do.
    record = read_record(plan, number) or score(number)
    return dataclasses.replace(record, retries=retries)


def _popular(plan: Plan, steps: Steps, shard_report: ShardReport) -> tuple[dict[int, ShardRecord], frozenset[int]]:
    count = functools.partial(count_bucket, plan)
    shard_report(ShardEvent(plan.request.name, 0, 1))
    record = write_popular(plan, sorted(steps.each(count, range(plan.shards))))
    shard_report(ShardEvent(plan.request.name, 1, 1, record.list_count))
    return {0: record}, frozenset()


def _manifest(plan: Plan, records: list[ShardRecord]) -> lists_pb2.ListsManifest:
    request, created, skipped = plan.request, Timestamp(), Counter[str]()
    created.GetCurrentTime()
    for record in records:
        skipped.update(record.skipped)
    return lists_pb2.ListsManifest(
        name=request.name,
        generation=plan.generation.number,
        contract_version=CONTRACT_VERSION,
        key=_KEY[request.kind],
        created_time=created,
        code_version=code_version(),
        model_name=request.model.name if request.model else "",
        model_version=request.model.version if request.model else 0,
        event_log_position=request.events.position if request.events else 0,
        parent_generation=int(plan.parent.folder.name) if plan.parent else 0,
        max_list_length=request.k,
        list_count=sum(record.list_count for record in records),
        skipped=skipped,
        shards=[
            lists_pb2.ListShard(
                file=record.file, list_count=record.list_count, byte_count=record.byte_count, sha256=record.sha256
            )
            for record in records
        ],
    )


def _source(number: int) -> str:
    return f"events-{number:05}"

"""What the service tells about a collection, and the names of the metrics."""
from __future__ import annotations

import dataclasses

from omendb_client.errors import InvalidArgument
from omendb_client._proto import collection_pb2 as messages

METRICS: dict[str, messages.Metric] = {
    "l2": messages.METRIC_L2,  # distance in answers: squared Euclidean
    "cosine": messages.METRIC_COSINE,  # 1 - cosine similarity
    "ip": messages.METRIC_INNER_PRODUCT,  # -(inner product)
}
ORIGINALS: dict[str, messages.Originals] = {
    "f32": messages.ORIGINALS_F32,  # as they were sent
    "f16": messages.ORIGINALS_F16,  # rounded to halves: half of the disk
}
_ORIGINALS_NAMES = {value: name for name, value in ORIGINALS.items()}
_METRIC_NAMES = {value: name for name, value in METRICS.items()}


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What the last calibration found: searches that name no ef go by it."""

    ef: int  # for k up to 10
    ef_100: int  # for k = 100
    rerank: int  # how many of the found are compared by their original vectors
    rerank_100: int
    recall: float  # measured with them
    recall_100: float
    target_recall: float  # that was aimed at
    live_queries: bool  # False: too few queries had come, stored points stood in
    queries: int  # how many of them
    points: int  # that the collection had
    unix_s: int  # when


@dataclasses.dataclass(frozen=True)
class Collection:
    """A snapshot of a collection's settings and counters."""

    name: str
    dim: int
    metric: str
    links: int
    candidates: int
    probes: int
    epoch_points: int
    checkpoint_bytes: int
    target_recall: float
    originals: str
    points: int  # searchable
    log_position: int  # of the last durable record
    searchable_position: int  # of the last record that searches see
    epoch: int
    memory_bytes: int  # graph, codes and tables, without the originals
    log_bytes: int
    kernels: tuple[str, ...]
    incarnation: bytes
    graph_hash: str  # hex; empty unless it was asked for
    algorithm_version: int  # what the log's records mean for the graph
    slots: int  # points, and deleted ones whose space is not free yet
    slots_max: int  # the most there were: what memory and disk are sized by
    checkpoint_position: int  # of the last checkpoint record applied; 0: none yet
    calibration: Calibration | None  # None: there was none yet
    refusal_reason: str  # while it takes no writes: DISK_FULL, READ_ONLY; else empty
    refusal: str  # and a sentence


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """What a collection would take, in bytes, by formula."""

    memory_bytes: int  # the sum of the six that follow
    codes_bytes: int  # int8 codes, scales, norms
    rows_bytes: int  # links and their distances
    ids_bytes: int  # ids, and what else is kept for each point
    tables_bytes: int  # from ids and from codes to points
    cells_bytes: int
    fixed_bytes: int
    capture_bytes: int  # memory as well, while a checkpoint is written
    originals_bytes: int  # a mapped file: on the disk, and as far as it is read in the page cache
    log_bytes: int  # on the disk, until checkpoints let go of it
    checkpoint_bytes: int  # on the disk: one file; two are kept, while a third is written
    used_bytes: int  # memory and capture of all collections that are there
    limit_bytes: int  # that they may take together; 0: no limit


@dataclasses.dataclass(frozen=True)
class Validation:
    """What validate_collection() counted while it found nothing wrong."""

    points: int  # visible
    linked: int  # nodes of the graph: points without their duplicates
    links: int
    reached_by_links: int  # nodes reached from the pivots by links alone


def metric_value(metric: str) -> messages.Metric:
    if metric not in METRICS:
        raise InvalidArgument(f"metric is {metric!r}, wanted one of {', '.join(METRICS)}")
    return METRICS[metric]


def metric_name(metric: messages.Metric) -> str:
    return _METRIC_NAMES.get(metric, str(metric))


def originals_value(originals: str) -> messages.Originals:
    if originals not in ORIGINALS:
        raise InvalidArgument(f"originals is {originals!r}, wanted one of {', '.join(ORIGINALS)}")
    return ORIGINALS[originals]


def from_message(message: messages.Collection) -> Collection:
    config = message.config
    return Collection(
        name=message.name,
        dim=config.dim,
        metric=metric_name(config.metric),
        links=config.links,
        candidates=config.candidates,
        probes=config.probes,
        epoch_points=config.epoch_points,
        checkpoint_bytes=config.checkpoint_bytes,
        target_recall=config.target_recall,
        originals=_ORIGINALS_NAMES.get(config.originals, str(config.originals)),
        points=message.points,
        log_position=message.log_position,
        searchable_position=message.searchable_position,
        epoch=message.epoch,
        memory_bytes=message.memory_bytes,
        log_bytes=message.log_bytes,
        kernels=tuple(message.kernels),
        incarnation=message.incarnation,
        graph_hash=message.graph_hash,
        algorithm_version=message.algorithm_version,
        slots=message.slots,
        slots_max=message.slots_max,
        checkpoint_position=message.checkpoint_position,
        calibration=_calibration(message.calibration),
        refusal_reason=message.refusal_reason,
        refusal=message.refusal,
    )


def _calibration(message: messages.Calibration) -> Calibration | None:
    if message.ef == 0:
        return None
    return Calibration(**{field.name: getattr(message, field.name)
                          for field in dataclasses.fields(Calibration)})


def estimate_from_message(message: messages.EstimateMemoryResponse) -> MemoryEstimate:
    return MemoryEstimate(**{field.name: getattr(message, field.name)
                             for field in dataclasses.fields(MemoryEstimate)})


def validation_from_message(message: messages.ValidateCollectionResponse) -> Validation:
    return Validation(message.points, message.linked, message.links, message.reached_by_links)

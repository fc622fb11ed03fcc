/* metrics.h - what the server counts, and the page that Prometheus reads.
 *
 * Counters are atomics, incremented by the methods of both front ends on whatever thread they run;
 * what collections are like is asked of the engine when the page is made. Units are base units and
 * the only label is the collection.
 */
#ifndef OMEN_METRICS_H
#define OMEN_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/text.h"

#define OMEN_METRICS_BUCKETS 14u /* of the search duration; the last has no upper bound */

struct omen_metrics {
    /* Any thread writes, relaxed; omen_metrics_write() reads. */
    _Atomic uint64_t insert_chunks;
    _Atomic uint64_t insert_points;
    _Atomic uint64_t insert_deletes;
    _Atomic uint64_t insert_item_errors;
    _Atomic uint64_t insert_streams_open;
    _Atomic uint64_t insert_drains;
    _Atomic uint64_t upserts;
    _Atomic uint64_t upsert_points;
    _Atomic uint64_t deletes;
    _Atomic uint64_t delete_points;
    _Atomic uint64_t write_item_errors;
    _Atomic uint64_t gets;
    _Atomic uint64_t get_points;
    _Atomic uint64_t search_queries;
    _Atomic uint64_t search_query_errors;
    _Atomic uint64_t searches_abandoned;
    _Atomic uint64_t search_duration_us;
    _Atomic uint64_t search_buckets[OMEN_METRICS_BUCKETS]; /* not cumulative */
};

/* What the page tells of other parts of the server. */
struct omen_metrics_levels {
    uint64_t ingest_bytes; /* taken and not searchable yet */
    uint64_t ingest_bytes_max;
    uint64_t request_bytes;
    uint64_t request_bytes_max;
    bool serving;
    bool writes_refused;
    struct omen_disk_info disk; /* zero while loading */
    struct omen_memory_info memory;
};

/* A chunk was handed to the engine; what the decoder refused counts, too. */
void omen_metrics_count_chunk(struct omen_metrics *metrics, uint32_t points, uint32_t deletes);
/* So many item errors were told to a client. */
void omen_metrics_count_item_errors(struct omen_metrics *metrics, size_t count);
void omen_metrics_open_stream(struct omen_metrics *metrics);
void omen_metrics_close_stream(struct omen_metrics *metrics);
/* A stream was told to go. */
void omen_metrics_count_drain(struct omen_metrics *metrics);
/* A request without a stream has written, or deleted, so many points, `errors` of them refused. */
void omen_metrics_count_write(struct omen_metrics *metrics, bool deletes, uint32_t points,
                              size_t errors);
void omen_metrics_count_get(struct omen_metrics *metrics, uint32_t points);
/* A search that the engine has finished without an error. */
void omen_metrics_count_search(struct omen_metrics *metrics, const struct omen_search *search);
/* A search that was cancelled or met its deadline. */
void omen_metrics_count_abandoned(struct omen_metrics *metrics);

/* Appends the page, in Prometheus' text format 0.0.4. */
void omen_metrics_write(const struct omen_metrics *metrics,
                        const struct omen_metrics_levels *levels,
                        const struct omen_collection_info *infos, size_t count,
                        struct omen_text *text);

#endif

/* metrics.h - what the server counts, and the page that Prometheus reads.
 *
 * Counters are atomics, incremented by the methods of both front ends on whatever thread they run;
 * what collections are like is asked of the engine when the page is made. Units are base units and
 * the only label is the collection.
 */
#ifndef OMEN_METRICS_H
#define OMEN_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/text.h"

#define OMEN_METRICS_BUCKETS 14u /* of the search duration; the last has no upper bound */

struct omen_metrics {
    /* Any thread writes, relaxed; omen_metrics_write() reads. */
    _Atomic uint64_t insert_chunks;
    _Atomic uint64_t insert_points;
    _Atomic uint64_t insert_item_errors;
    _Atomic uint64_t insert_streams_open;
    _Atomic uint64_t search_queries;
    _Atomic uint64_t search_duration_us;
    _Atomic uint64_t search_buckets[OMEN_METRICS_BUCKETS]; /* not cumulative */
};

/* A chunk was handed to the engine; `points` counts those that the decoder refused too. */
void omen_metrics_count_chunk(struct omen_metrics *metrics, uint32_t points);
/* So many item errors were told to a client. */
void omen_metrics_count_item_errors(struct omen_metrics *metrics, size_t count);
void omen_metrics_open_stream(struct omen_metrics *metrics);
void omen_metrics_close_stream(struct omen_metrics *metrics);
/* A search that the engine has finished without an error. */
void omen_metrics_count_search(struct omen_metrics *metrics, const struct omen_search *search);

/* Appends the page, in Prometheus' text format 0.0.4. */
void omen_metrics_write(const struct omen_metrics *metrics,
                        const struct omen_collection_info *infos, size_t count,
                        struct omen_text *text);

#endif

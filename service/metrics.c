/* metrics.c - see metrics.h. */
#include "service/metrics.h"

#include <inttypes.h>

/* Upper bounds of the search duration's buckets. */
static const uint64_t bucket_us[OMEN_METRICS_BUCKETS - 1] = {
    250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 5000000};

struct gauge {
    const char *name;
    const char *help;
    size_t offset; /* of its uint64_t in struct omen_collection_info */
};

#define AT(field) offsetof(struct omen_collection_info, field)

static const struct gauge gauges[] = {
    {"points", "Searchable points.", AT(points)},
    {"log_position", "Last durable record of the log.", AT(log_position)},
    {"searchable_position", "Last record of the log that searches see.", AT(searchable_position)},
    {"epoch", "Last published epoch.", AT(epoch)},
    {"memory_bytes", "Memory of graph, codes and tables, without the original vectors.",
     AT(memory_bytes)},
    {"log_bytes", "Bytes of the log on disk.", AT(log_bytes)},
    {"slots", "Places in use: points, and deleted ones whose place is not free yet.", AT(slots)},
    {"slots_max", "The most places there were.", AT(slots_max)},
    {"checkpoint_position", "Last checkpoint record that was applied.", AT(checkpoint_position)},
    {"checkpoint_file_position", "Record of the newest checkpoint file; 0: there is none.",
     AT(checkpoint.position)},
    {"checkpoint_file_bytes", "Its size, if it was written since the start.", AT(checkpoint.bytes)},
    {"checkpoint_failures", "Checkpoint files since the start that came to nothing.",
     AT(checkpoint.failures)},
    {"checkpoint_damaged", "Checkpoint files that could not be read at the start.",
     AT(checkpoint.damaged)},
    {"vectors_checked", "Stored vectors compared with their hashes since the start.",
     AT(vectors_checked)},
    {"vectors_unchecked", "Stored vectors not compared since the start, or damaged.",
     AT(vectors_unchecked)},
    {"vectors_damaged", "Stored vectors that are damaged, and not served.", AT(vectors_damaged)},
};

static void add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void omen_metrics_count_chunk(struct omen_metrics *metrics, uint32_t points, uint32_t deletes)
{
    add(&metrics->insert_chunks, 1);
    add(&metrics->insert_points, points);
    add(&metrics->insert_deletes, deletes);
}

void omen_metrics_count_drain(struct omen_metrics *metrics)
{
    add(&metrics->insert_drains, 1);
}

void omen_metrics_count_write(struct omen_metrics *metrics, bool deletes, uint32_t points,
                              size_t errors)
{
    add(deletes ? &metrics->deletes : &metrics->upserts, 1);
    add(deletes ? &metrics->delete_points : &metrics->upsert_points, points);
    add(&metrics->write_item_errors, errors);
}

void omen_metrics_count_get(struct omen_metrics *metrics, uint32_t points)
{
    add(&metrics->gets, 1);
    add(&metrics->get_points, points);
}

void omen_metrics_count_abandoned(struct omen_metrics *metrics)
{
    add(&metrics->searches_abandoned, 1);
}

void omen_metrics_count_item_errors(struct omen_metrics *metrics, size_t count)
{
    add(&metrics->insert_item_errors, count);
}

void omen_metrics_open_stream(struct omen_metrics *metrics)
{
    add(&metrics->insert_streams_open, 1);
}

void omen_metrics_close_stream(struct omen_metrics *metrics)
{
    atomic_fetch_sub_explicit(&metrics->insert_streams_open, 1, memory_order_relaxed);
}

void omen_metrics_count_search(struct omen_metrics *metrics, const struct omen_search *search)
{
    size_t bucket = 0;

    while (bucket < OMEN_METRICS_BUCKETS - 1 && search->duration_us > bucket_us[bucket])
        bucket++;
    add(&metrics->search_buckets[bucket], 1);
    add(&metrics->search_queries, search->count);
    for (uint32_t i = 0; i < search->count; i++)
        if (search->results[i].refusal != 0) add(&metrics->search_query_errors, 1);
    add(&metrics->search_duration_us, search->duration_us);
}

/* ---- the page ----------------------------------------------------------------------------- */

static void write_head(struct omen_text *text, const char *name, const char *type, const char *help)
{
    omen_text_add(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_level(struct omen_text *text, const char *name, const char *help, uint64_t value)
{
    write_head(text, name, "gauge", help);
    omen_text_add(text, "%s %" PRIu64 "\n", name, value);
}

/* Every counter of the page, in its order. */
static const struct counter {
    const char *name;
    const char *help;
    size_t offset; /* of its field in struct omen_metrics */
} counters[] = {
#define COUNTER(name, field, help)                                                                 \
    {                                                                                              \
        name, help, offsetof(struct omen_metrics, field)                                           \
    }
    COUNTER("omendb_insert_chunks_total", insert_chunks, "Chunks that were taken in."),
    COUNTER("omendb_insert_points_total", insert_points,
            "Points of these chunks, refused ones included."),
    COUNTER("omendb_insert_deletes_total", insert_deletes, "Deletes of these chunks."),
    COUNTER("omendb_insert_item_errors_total", insert_item_errors,
            "Refused points of insert streams that were told to clients."),
    COUNTER("omendb_insert_drains_total", insert_drains,
            "Insert streams that the server asked to go."),
    COUNTER("omendb_upsert_requests_total", upserts, "Writes without a stream that are done."),
    COUNTER("omendb_upsert_points_total", upsert_points,
            "Points of these writes, refused ones included."),
    COUNTER("omendb_delete_requests_total", deletes, "Deletes without a stream that are done."),
    COUNTER("omendb_delete_points_total", delete_points, "Ids of these deletes."),
    COUNTER("omendb_write_item_errors_total", write_item_errors,
            "Refused points and ids of writes and deletes without a stream."),
    COUNTER("omendb_get_requests_total", gets, "Look-ups that were answered."),
    COUNTER("omendb_get_points_total", get_points, "Ids of these look-ups."),
    COUNTER("omendb_search_queries_total", search_queries, "Queries that were answered."),
    COUNTER("omendb_search_query_errors_total", search_query_errors,
            "Queries of these that were refused."),
    COUNTER("omendb_searches_abandoned_total", searches_abandoned,
            "Searches that were cancelled or met their deadline."),
#undef COUNTER
};

static void write_counters(struct omen_text *text, const struct omen_metrics *metrics)
{
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        const char *at = (const char *)metrics + counters[i].offset;

        write_head(text, counters[i].name, "counter", counters[i].help);
        omen_text_add(text, "%s %" PRIu64 "\n", counters[i].name,
                      read_counter((const _Atomic uint64_t *)(const void *)at));
    }
}

/* The count is the sum of the buckets that were read, so the page never contradicts itself. */
static void write_search_duration(struct omen_text *text, const struct omen_metrics *metrics)
{
    static const char name[] = "omendb_search_duration_seconds";
    uint64_t count = 0;

    write_head(text, name, "histogram",
               "Time of a search request in the engine, queueing included.");
    for (size_t i = 0; i < OMEN_METRICS_BUCKETS; i++) {
        count += read_counter(&metrics->search_buckets[i]);
        if (i + 1 < OMEN_METRICS_BUCKETS)
            omen_text_add(text, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                          (double)bucket_us[i] / 1e6, count);
    }
    omen_text_add(text, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    omen_text_add(text, "%s_sum %.6f\n", name,
                  (double)read_counter(&metrics->search_duration_us) / 1e6);
    omen_text_add(text, "%s_count %" PRIu64 "\n", name, count);
}

static uint64_t dead_slots(const struct omen_collection_info *info)
{
    return info->slots > info->points ? info->slots - info->points : 0;
}

/* A collection's name is [A-Za-z0-9_-], so a label needs no escaping. */
static void write_collections(struct omen_text *text, const struct omen_collection_info *infos,
                              size_t count)
{
    for (size_t g = 0; g < sizeof gauges / sizeof *gauges; g++) {
        const struct gauge *gauge = &gauges[g];

        omen_text_add(text, "# HELP omendb_collection_%s %s\n# TYPE omendb_collection_%s gauge\n",
                      gauge->name, gauge->help, gauge->name);
        for (size_t i = 0; i < count; i++) {
            const char *at = (const char *)&infos[i] + gauge->offset;

            omen_text_add(text, "omendb_collection_%s{collection=\"%s\"} %" PRIu64 "\n",
                          gauge->name, infos[i].name, *(const uint64_t *)(const void *)at);
        }
    }
    write_head(text, "omendb_collection_read_only", "gauge",
               "1 while the collection takes no writes; GetCollection says why.");
    for (size_t i = 0; i < count; i++)
        omen_text_add(text, "omendb_collection_read_only{collection=\"%s\"} %d\n", infos[i].name,
                      infos[i].refusal_code != OMEN_OK);
    write_head(text, "omendb_collection_dead_slots", "gauge",
               "Places of deleted points that are not free yet.");
    for (size_t i = 0; i < count; i++)
        omen_text_add(text, "omendb_collection_dead_slots{collection=\"%s\"} %" PRIu64 "\n",
                      infos[i].name, dead_slots(&infos[i]));
}

/* Of the targets and what was calibrated for them: numbers that are no uint64_t of the info. */
struct recall_gauge {
    const char *name;
    const char *help;
    double (*value)(const struct omen_collection_info *info);
};

static double target_recall(const struct omen_collection_info *info)
{
    return info->settings.target_recall / 1e6;
}

static double calibrated_ef(const struct omen_collection_info *info)
{
    return info->calibration.ef[0];
}

static double calibrated_recall(const struct omen_collection_info *info)
{
    return info->calibration.recall[0] / 1e6;
}

static double calibrated_at(const struct omen_collection_info *info)
{
    return info->calibration.at_s;
}

static double calibrated_queries(const struct omen_collection_info *info)
{
    return info->calibration.queries;
}

static double calibrated_live(const struct omen_collection_info *info)
{
    return info->calibration.live;
}

static void write_recall(struct omen_text *text, const struct omen_collection_info *infos,
                         size_t count)
{
    static const struct recall_gauge recall_gauges[] = {
        {"target_recall", "Share of the true neighbours that searches without an ef shall find.",
         target_recall},
        {"calibrated_ef", "What such searches take as ef for k up to 10; 0 before a calibration.",
         calibrated_ef},
        {"calibrated_recall", "Recall that the last calibration measured with it.",
         calibrated_recall},
        {"calibrated_queries", "Queries that the last calibration measured.", calibrated_queries},
        {"calibrated_live", "1 if these came from clients, 0 if they were stored points.",
         calibrated_live},
        {"calibrated_timestamp_seconds", "When the last calibration was, in Unix time.",
         calibrated_at},
    };

    for (size_t g = 0; g < sizeof recall_gauges / sizeof *recall_gauges; g++) {
        const struct recall_gauge *gauge = &recall_gauges[g];

        omen_text_add(text, "# HELP omendb_collection_%s %s\n# TYPE omendb_collection_%s gauge\n",
                      gauge->name, gauge->help, gauge->name);
        for (size_t i = 0; i < count; i++)
            omen_text_add(text, "omendb_collection_%s{collection=\"%s\"} %.10g\n", gauge->name,
                          infos[i].name, gauge->value(&infos[i]));
    }
}

void omen_metrics_write(const struct omen_metrics *metrics,
                        const struct omen_metrics_levels *levels,
                        const struct omen_collection_info *infos, size_t count,
                        struct omen_text *text)
{
    write_head(text, "omendb_build_info", "gauge", "Which build this is; always 1.");
    omen_text_add(text, "omendb_build_info{version=\"%s\"} 1\n", OMEN_VERSION);
    write_level(text, "omendb_serving", "1 while serving, 0 while loading or draining.",
                levels->serving);
    write_level(text, "omendb_writes_refused",
                "1 while writes are refused: a full disk, a collection whose log failed.",
                levels->writes_refused);
    write_level(text, "omendb_disk_free_bytes", "Free on the disk of the data directory.",
                levels->disk.free);
    write_level(text, "omendb_disk_reserve_bytes",
                "What writes leave of it; beyond, they are refused.", levels->disk.reserve);
    write_level(text, "omendb_memory_used_bytes",
                "Memory of all collections, by the formula of EstimateMemory.",
                levels->memory.used);
    write_level(text, "omendb_memory_limit_bytes",
                "The most of it; beyond, points are refused. 0: no limit.", levels->memory.limit);
    write_level(text, "omendb_ingest_bytes",
                "Points of insert streams that were taken and are not durable yet.",
                levels->ingest_bytes);
    write_level(text, "omendb_ingest_bytes_max", "The most of them; beyond, clients wait.",
                levels->ingest_bytes_max);
    write_level(text, "omendb_request_bytes", "Memory of other calls that are worked on.",
                levels->request_bytes);
    write_level(text, "omendb_request_bytes_max", "The most of it; beyond, calls are refused.",
                levels->request_bytes_max);
    write_level(text, "omendb_insert_streams_open", "Insert streams that are open.",
                read_counter(&metrics->insert_streams_open));
    write_counters(text, metrics);
    write_search_duration(text, metrics);
    write_collections(text, infos, count);
    write_recall(text, infos, count);
}

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
};

static void add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void omen_metrics_count_chunk(struct omen_metrics *metrics, uint32_t points)
{
    add(&metrics->insert_chunks, 1);
    add(&metrics->insert_points, points);
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
    add(&metrics->search_duration_us, search->duration_us);
}

/* ---- the page ----------------------------------------------------------------------------- */

static void write_head(struct omen_text *text, const char *name, const char *type, const char *help)
{
    omen_text_add(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_one(struct omen_text *text, const char *name, const char *type, const char *help,
                      const _Atomic uint64_t *counter)
{
    write_head(text, name, type, help);
    omen_text_add(text, "%s %" PRIu64 "\n", name, read_counter(counter));
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
}

void omen_metrics_write(const struct omen_metrics *metrics,
                        const struct omen_collection_info *infos, size_t count,
                        struct omen_text *text)
{
    write_head(text, "omendb_build_info", "gauge", "Which build this is; always 1.");
    omen_text_add(text, "omendb_build_info{version=\"%s\"} 1\n", OMEN_VERSION);
    write_one(text, "omendb_insert_chunks_total", "counter", "Chunks that were taken in.",
              &metrics->insert_chunks);
    write_one(text, "omendb_insert_points_total", "counter",
              "Points of these chunks, refused ones included.", &metrics->insert_points);
    write_one(text, "omendb_insert_item_errors_total", "counter",
              "Refused points that were told to clients.", &metrics->insert_item_errors);
    write_one(text, "omendb_insert_streams_open", "gauge", "Insert streams that are open.",
              &metrics->insert_streams_open);
    write_one(text, "omendb_search_queries_total", "counter", "Queries that were answered.",
              &metrics->search_queries);
    write_search_duration(text, metrics);
    write_collections(text, infos, count);
}

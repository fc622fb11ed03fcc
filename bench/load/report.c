/* report.c - see report.h. Every string that goes into the JSON is escaped; numbers are finite. */
#include "bench/load/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *name;
    const char *shown;
    double part;
} percentiles[] = {{"p50_ms", "p50", 0.5},
                   {"p90_ms", "p90", 0.9},
                   {"p99_ms", "p99", 0.99},
                   {"p999_ms", "p99.9", 0.999}};

#define PERCENTILES (sizeof percentiles / sizeof *percentiles)

static double at_percentile(const struct omen_load_histogram *histogram, double part)
{
    return (double)omen_load_histogram_percentile(histogram, part) / 1e6;
}

static double per(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds : 0;
}

/* ---- for eyes ----------------------------------------------------------------------------- */

static void print_latency(const char *what, const struct omen_load_histogram *histogram)
{
    (void)printf("  %-26s", what);
    for (size_t i = 0; i < PERCENTILES; i++)
        (void)printf(" %s %.2f", percentiles[i].shown,
                     at_percentile(histogram, percentiles[i].part));
    (void)printf(" max %.2f ms\n", (double)histogram->max / 1e6);
}

static void print_level(const char *what, const struct omen_load_level *level)
{
    (void)printf("  %-10s %10.0f vectors/s  (%.3f s)\n    by tenth:", what, level->per_second,
                 level->seconds);
    for (uint32_t i = 0; i < OMEN_LOAD_DECILES; i++)
        (void)printf(" %.0f", level->deciles[i]);
    (void)printf("\n");
}

static void print_ingest(const struct omen_load_report *report)
{
    const struct omen_load_ingest_result *ingest = report->ingest;

    (void)printf("ingest: %" PRIu64 " rows of %u in %" PRIu64 " chunks, %" PRIu64
                 " connections x %" PRIu64 " streams, window %.0f MiB\n",
                 ingest->rows_sent, report->dim, ingest->chunks, report->options->connections,
                 report->options->streams, (double)ingest->window_bytes / (1 << 20));
    print_level("durable", &ingest->durable);
    print_level("searchable", &ingest->searchable);
    print_latency("chunk until durable", &ingest->durable.latency);
    print_latency("chunk until searchable", &ingest->searchable.latency);
    if (ingest->errors > 0)
        (void)printf("  REFUSED rows: %" PRIu64 " (%s)\n", ingest->errors, ingest->first_error);
}

static void print_search(const struct omen_load_report *report)
{
    const struct omen_load_options *options = report->options;
    const struct omen_load_search_result *search = report->search;
    double queries = search->queries > 0 ? (double)search->queries : 1;

    (void)printf("search: %" PRIu64 " requests x %" PRIu64 " queries, k %" PRIu64 ", ef %" PRIu64
                 ", at most %" PRIu64 " in flight, %s\n",
                 search->requests, options->batch, options->k, options->ef, options->concurrency,
                 options->rate > 0 ? "open loop" : "closed loop");
    (void)printf("  %10.0f queries/s  %10.1f requests/s",
                 per((double)search->queries, search->seconds),
                 per((double)search->requests, search->seconds));
    if (options->rate > 0) (void)printf("  (wanted %.1f)", options->rate);
    (void)printf("  %.1f hits and %.0f visited a query\n", (double)search->hits / queries,
                 (double)search->visited / queries);
    print_latency(options->rate > 0 ? "latency, from when due" : "latency", &search->latency);
    if (options->rate > 0) {
        print_latency("  of it, since it was sent", &search->service);
        print_latency("  of it, sent late", &search->late);
    }
    if (search->not_sent > 0)
        (void)printf("  NOT SENT: %" PRIu64 " requests; the server cannot keep the rate\n",
                     search->not_sent);
    if (search->failed > 0)
        (void)printf("  FAILED: %" PRIu64 " requests (%s)\n", search->failed, search->first_error);
}

void omen_load_report_print(const struct omen_load_report *report)
{
    if (report->ingest != NULL) print_ingest(report);
    if (report->search != NULL) print_search(report);
    (void)printf("CPU: own %.2f s", report->own_cpu);
    if (report->has_server_cpu) {
        (void)printf(", server %.2f s", report->server_cpu);
        if (report->ingest != NULL)
            (void)printf(", %.0f vectors",
                         per((double)report->ingest->searchable.rows, report->server_cpu));
        if (report->search != NULL)
            (void)printf(", %.0f queries",
                         per((double)report->search->queries, report->server_cpu));
        (void)printf(" per server CPU second");
    }
    (void)printf("; %.2f s in all\n", report->seconds);
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void write_text(FILE *file, const char *name, const char *text)
{
    (void)fprintf(file, "\"%s\": \"", name);
    for (const char *at = text; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;

        if (c < 0x20)
            (void)fprintf(file, "\\u%04x", c);
        else
            (void)fprintf(file, c == '"' || c == '\\' ? "\\%c" : "%c", c);
    }
    (void)fputc('"', file);
}

static void write_latency(FILE *file, const char *name, const struct omen_load_histogram *histogram)
{
    (void)fprintf(file, "    \"%s\": {\"count\": %" PRIu64 ", \"mean_ms\": %.6f", name,
                  histogram->count, per(histogram->sum / 1e6, (double)histogram->count));
    for (size_t i = 0; i < PERCENTILES; i++)
        (void)fprintf(file, ", \"%s\": %.6f", percentiles[i].name,
                      at_percentile(histogram, percentiles[i].part));
    (void)fprintf(file, ", \"max_ms\": %.6f}", (double)histogram->max / 1e6);
}

static void write_level(FILE *file, const char *name, const struct omen_load_level *level)
{
    (void)fprintf(file,
                  "    \"%s_rows\": %" PRIu64 ",\n    \"%s_seconds\": %.6f,\n"
                  "    \"%s_per_second\": %.1f,\n    \"%s_deciles_per_second\": [",
                  name, level->rows, name, level->seconds, name, level->per_second, name);
    for (uint32_t i = 0; i < OMEN_LOAD_DECILES; i++)
        (void)fprintf(file, "%s%.1f", i > 0 ? ", " : "", level->deciles[i]);
    (void)fprintf(file, "],\n");
}

static void write_ingest(FILE *file, const struct omen_load_report *report)
{
    const struct omen_load_ingest_result *ingest = report->ingest;

    (void)fprintf(file,
                  "  \"ingest\": {\n    \"rows_sent\": %" PRIu64 ",\n    \"rows_refused\": %" PRIu64
                  ",\n    \"chunks\": %" PRIu64 ",\n    \"chunk_points\": %" PRIu64
                  ",\n    \"connections\": %" PRIu64 ",\n    \"streams\": %" PRIu64
                  ",\n    \"broken_streams\": %" PRIu64 ",\n    \"window_bytes\": %" PRIu64
                  ",\n    \"rate\": %.3f,\n    ",
                  ingest->rows_sent, ingest->errors, ingest->chunks, ingest->chunk_points,
                  report->options->connections, report->options->streams, ingest->broken_streams,
                  ingest->window_bytes, report->options->ingest_rate);
    write_text(file, "first_error", ingest->first_error);
    (void)fprintf(file, ",\n");
    write_level(file, "durable", &ingest->durable);
    write_level(file, "searchable", &ingest->searchable);
    write_latency(file, "chunk_durable", &ingest->durable.latency);
    (void)fprintf(file, ",\n");
    write_latency(file, "chunk_searchable", &ingest->searchable.latency);
    (void)fprintf(file, "\n  },\n");
}

static void write_search(FILE *file, const struct omen_load_report *report)
{
    const struct omen_load_options *options = report->options;
    const struct omen_load_search_result *search = report->search;

    (void)fprintf(file,
                  "  \"search\": {\n    \"requests\": %" PRIu64 ",\n    \"queries\": %" PRIu64
                  ",\n    \"hits\": %" PRIu64 ",\n    \"visited\": %" PRIu64
                  ",\n    \"failed\": %" PRIu64 ",\n    \"not_sent\": %" PRIu64
                  ",\n    \"batch\": %" PRIu64 ",\n    \"k\": %" PRIu64 ",\n    \"ef\": %" PRIu64
                  ",\n    \"exact\": %s,\n    \"concurrency\": %" PRIu64
                  ",\n    \"rate\": %.3f,\n    ",
                  search->requests, search->queries, search->hits, search->visited, search->failed,
                  search->not_sent, options->batch, options->k, options->ef,
                  options->exact ? "true" : "false", options->concurrency, options->rate);
    write_text(file, "first_error", search->first_error);
    (void)fprintf(file,
                  ",\n    \"seconds\": %.6f,\n    \"requests_per_second\": %.3f,\n"
                  "    \"queries_per_second\": %.3f,\n",
                  search->seconds, per((double)search->requests, search->seconds),
                  per((double)search->queries, search->seconds));
    write_latency(file, "latency", &search->latency);
    (void)fprintf(file, ",\n");
    write_latency(file, "since_sent", &search->service);
    (void)fprintf(file, ",\n");
    write_latency(file, "sent_late", &search->late);
    (void)fprintf(file, "\n  },\n");
}

static void write_cpu(FILE *file, const struct omen_load_report *report)
{
    (void)fprintf(file, "  \"cpu\": {\"own_seconds\": %.6f", report->own_cpu);
    if (report->has_server_cpu) {
        (void)fprintf(file, ", \"server_seconds\": %.2f", report->server_cpu);
        if (report->ingest != NULL)
            (void)fprintf(file, ", \"vectors_per_server_second\": %.1f",
                          per((double)report->ingest->searchable.rows, report->server_cpu));
        if (report->search != NULL)
            (void)fprintf(file, ", \"queries_per_server_second\": %.1f",
                          per((double)report->search->queries, report->server_cpu));
    }
    (void)fprintf(file, "}\n");
}

omen_code omen_load_report_write(const struct omen_load_report *report, const char *path,
                                 omen_error *err)
{
    const struct omen_load_options *options = report->options;
    FILE *file = fopen(path, "w");

    if (file == NULL) return omen_fail(err, OMEN_UNAVAILABLE, "--json %s: errno %d", path, errno);
    (void)fprintf(file, "{\n  \"version\": \"%s\",\n  \"mode\": \"%s\",\n  ", OMEN_VERSION,
                  omen_load_mode_name(options->mode));
    write_text(file, "data", options->data != NULL ? options->data : "synthetic");
    (void)fprintf(file, ",\n  ");
    write_text(file, "collection", options->collection);
    (void)fprintf(file,
                  ",\n  \"dim\": %u,\n  \"rows\": %" PRIu64 ",\n  \"seed\": %" PRIu64
                  ",\n  \"seconds\": %.6f,\n",
                  report->dim, report->rows, options->seed, report->seconds);
    if (report->ingest != NULL) write_ingest(file, report);
    if (report->search != NULL) write_search(file, report);
    write_cpu(file, report);
    (void)fprintf(file, "}\n");
    bool bad = ferror(file) != 0;

    if (fclose(file) != 0 || bad)
        return omen_fail(err, OMEN_UNAVAILABLE, "--json %s: errno %d", path, errno);
    return OMEN_OK;
}

/* main.c - omendb-load: loads an omendb-server and measures it. See --help and bench/README.md.
 *
 * Happy path: flags, vectors, the collection if it shall be made, threads for ingest and search,
 * one common start, their end, the report, and the collection is dropped again.
 *
 * Without --queries, queries are the rows of --data, or synthetic rows that follow those that are
 * inserted.
 *
 * Failure modes: bad flags end with status 2 before anything is sent. Whatever else goes wrong is
 * told in a sentence and ends with status 1; what was measured until then is reported all the same,
 * and a collection that we made is dropped.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/load/clock.h"
#include "bench/load/ingest.h"
#include "bench/load/messages.h"
#include "bench/load/options.h"
#include "bench/load/report.h"
#include "bench/load/rows.h"
#include "bench/load/run.h"
#include "bench/load/search.h"
#include "bench/load/transport.h"

struct vectors {
    struct omen_load_rows rows;
    struct omen_load_rows queries; /* zeroed: `rows` serve */
};

/* Too large for a stack of threads' size. */
struct results {
    struct omen_load_ingest_result ingest;
    struct omen_load_search_result search;
};

static omen_code load_vectors(const struct omen_load_options *options, struct vectors *vectors,
                              omen_error *err);
static omen_code load(const struct omen_load_options *options, const struct vectors *vectors,
                      omen_error *err);
static omen_code measure(struct omen_load_run *run, struct results *results,
                         struct omen_load_report *report, omen_error *err);
static omen_code ask_once(const struct omen_load_options *options, const char *path,
                          struct omen_load_payload request, omen_error *err);

int main(int argc, char **argv)
{
    struct omen_load_options options;
    struct vectors vectors = {0};
    omen_error err;
    bool help = false;
    omen_code code = omen_load_options_parse(argc, argv, &options, &help, &err);

    if (code != OMEN_OK) {
        (void)fprintf(stderr, "omendb-load: %s\n", err.message);
        return 2;
    }
    if (help) {
        omen_load_options_help();
        return 0;
    }
    code = load_vectors(&options, &vectors, &err);
    if (code == OMEN_OK) code = load(&options, &vectors, &err);
    if (code != OMEN_OK) (void)fprintf(stderr, "omendb-load: %s\n", err.message);
    omen_load_rows_close(&vectors.rows);
    omen_load_rows_close(&vectors.queries);
    return code == OMEN_OK ? 0 : 1;
}

static omen_code load_vectors(const struct omen_load_options *options, struct vectors *vectors,
                              omen_error *err)
{
    struct omen_load_synthetic wanted = {
        .seed = options->seed, .count = options->rows, .dim = (uint32_t)options->dim};
    bool search = options->mode != OMEN_LOAD_MODE_INGEST;
    bool ingest = options->mode != OMEN_LOAD_MODE_SEARCH;
    omen_code code = OMEN_OK;

    if (options->data != NULL && (ingest || options->queries == NULL))
        code = omen_load_rows_read(options->data, options->rows, &vectors->rows, err);
    else if (options->data == NULL && ingest)
        code = omen_load_rows_make(&wanted, &vectors->rows, err);
    if (code != OMEN_OK || !search) return code;
    if (options->queries != NULL)
        return omen_load_rows_read(options->queries, 0, &vectors->queries, err);
    if (options->data != NULL) return OMEN_OK;
    wanted.first = options->rows;
    wanted.count = OMEN_SEARCH_QUERIES_MAX;
    return omen_load_rows_make(&wanted, &vectors->queries, err);
}

static omen_code load(const struct omen_load_options *options, const struct vectors *vectors,
                      omen_error *err)
{
    bool own_queries = vectors->queries.count > 0;
    struct omen_load_run run = {.options = options,
                                .rows = &vectors->rows,
                                .queries = own_queries ? &vectors->queries : &vectors->rows};
    struct omen_load_report report = {
        .options = options, .dim = vectors->rows.dim, .rows = vectors->rows.count};
    struct results *results = calloc(1, sizeof *results);
    omen_error later;
    omen_code code = OMEN_OK;
    bool created = false;

    if (results == NULL) {
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "memory for results");
        goto done;
    }
    if (options->create) {
        code = ask_once(options, OMEN_LOAD_CREATE,
                        omen_load_encode_create(options->collection, report.dim, options->metric),
                        err);
        if (code != OMEN_OK) goto done;
        created = true;
    }
    if (report.dim == 0) report.dim = run.queries->dim;
    code = measure(&run, results, &report, err);
    if (run.begin == 0) goto done; /* nothing was measured */
    omen_load_report_print(&report);
    if (options->json != NULL) {
        omen_code written = omen_load_report_write(&report, options->json, &later);

        if (code == OMEN_OK && written != OMEN_OK) {
            code = written;
            *err = later;
        }
    }

done:
    if (created && !options->keep) {
        omen_code dropped = ask_once(options, OMEN_LOAD_DELETE,
                                     omen_load_encode_delete(options->collection), &later);
        if (code == OMEN_OK && dropped != OMEN_OK) {
            code = dropped;
            *err = later;
        }
    }
    free(results);
    return code;
}

/* Lets the threads meet, start and end. run->begin stays 0 if they cannot start. */
static omen_code measure(struct omen_load_run *run, struct results *results,
                         struct omen_load_report *report, omen_error *err)
{
    const struct omen_load_options *options = run->options;
    bool ingesting = options->mode != OMEN_LOAD_MODE_SEARCH;
    bool searching = options->mode != OMEN_LOAD_MODE_INGEST;
    unsigned sides = (unsigned)ingesting + (unsigned)searching;
    omen_load_ingest *ingest = NULL;
    omen_load_searches *searches = NULL;
    double server_before = 0;
    double own_before = 0;
    omen_error later;
    omen_code code = OMEN_OK;

    report->has_server_cpu = options->server_pid != 0;
    if (report->has_server_cpu)
        code = omen_load_cpu_of((int)options->server_pid, &server_before, err);
    if (code != OMEN_OK) return code;
    (void)pthread_barrier_init(&run->gate, NULL, (unsigned)options->connections * sides + 1);
    if (ingesting) code = omen_load_ingest_start(run, &ingest, err);
    if (code != OMEN_OK) return code;
    if (searching) code = omen_load_search_start(run, &searches, err);
    if (code != OMEN_OK) abort(); /* the streams wait at the gate for threads that cannot be */

    (void)pthread_barrier_wait(&run->gate);
    if (!atomic_load(&run->failed)) {
        if (report->has_server_cpu)
            code = omen_load_cpu_of((int)options->server_pid, &server_before, err);
        own_before = omen_load_cpu_own();
        run->begin = omen_load_clock_now();
    }
    (void)pthread_barrier_wait(&run->gate);

    omen_code ingested = omen_load_ingest_end(ingest, &results->ingest, &later);

    if (code == OMEN_OK && ingested != OMEN_OK) {
        code = ingested;
        *err = later;
    }
    omen_code searched = omen_load_search_end(searches, &results->search, &later);

    if (code == OMEN_OK && searched != OMEN_OK) {
        code = searched;
        *err = later;
    }
    report->ingest = ingesting ? &results->ingest : NULL;
    report->search = searching ? &results->search : NULL;
    report->seconds = (double)(omen_load_clock_now() - run->begin) / 1e9;
    report->own_cpu = omen_load_cpu_own() - own_before;
    if (report->has_server_cpu) {
        omen_code read = omen_load_cpu_of((int)options->server_pid, &report->server_cpu, &later);

        report->server_cpu -= server_before;
        report->has_server_cpu = read == OMEN_OK;
        if (code == OMEN_OK && read != OMEN_OK) {
            code = read;
            *err = later;
        }
    }
    (void)pthread_barrier_destroy(&run->gate);
    return code;
}

static omen_code ask_once(const struct omen_load_options *options, const char *path,
                          struct omen_load_payload request, omen_error *err)
{
    omen_load_connection *connection = NULL;
    omen_code code = omen_load_connection_open(options->target, &connection, err);

    if (code != OMEN_OK) {
        free(request.data);
        return code;
    }
    code = omen_load_call_wait(connection, path, request, err);
    omen_load_connection_close(connection);
    return code;
}

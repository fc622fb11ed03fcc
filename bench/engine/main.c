/* main.c - omen_engine_bench: the engine without a wire, driven by lines from a benchmark.
 *
 *     omen_engine_bench --rows ROWS.npy --queries QUERIES.npy --dir DIR [--FLAG VALUE ...]
 *
 * Reads commands from standard input, a line each, and answers each by one line of JSON, which has
 * "error" when it failed. bench/peers/main.py speaks the same language for everybody else, so that
 * one program can drive all of them in turn.
 *
 *     build [chunk=N]                            streams all rows in
 *     search ef=N batch=N [seconds=S] [ids=FILE] asks all queries, again until S have passed
 *     memory                                     what the process and the collection hold
 *     load                                       closes, reopens, asks one query
 *     quit
 *
 * Failure modes: bad flags end with status 2, what cannot be opened with status 1; a command that
 * fails is answered and the next one is read. End of input is `quit`.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/engine/index.h"
#include "bench/load/clock.h"
#include "bench/load/rows.h"

#define LINE_MAX_BYTES 4352
#define K              10u

struct bench {
    struct omen_load_rows rows;
    struct omen_load_rows queries;
    struct omen_bench_index index;
    struct omen_load_histogram latency;
    int64_t *ids; /* queries x K */
};

struct flags {
    const char *rows;
    const char *queries;
    struct omen_bench_index_options index;
};

static omen_code parse_flags(int argc, char **argv, struct flags *flags, omen_error *err);
static omen_code open_all(const struct flags *flags, struct bench *bench, omen_error *err);
static void close_all(struct bench *bench);
static void obey(struct bench *bench, const char *line);
static omen_code build(struct bench *bench, const char *line, omen_error *err);
static omen_code search(struct bench *bench, const char *line, omen_error *err);
static omen_code tell_memory(struct bench *bench, const char *line, omen_error *err);
static omen_code load(struct bench *bench, const char *line, omen_error *err);

static const struct {
    const char *name;
    omen_code (*run)(struct bench *bench, const char *line, omen_error *err);
} commands[] = {{"build", build}, {"search", search}, {"memory", tell_memory}, {"load", load}};

/* The benchmark's own parent reads a line as soon as it is whole. */
static void end_line(void)
{
    (void)fputs("}\n", stdout);
    (void)fflush(stdout);
}

static void tell_error(const omen_error *err)
{
    (void)fputs("{\"error\": \"", stdout);
    for (const char *at = err->message; *at != '\0'; at++)
        if (*at >= ' ' && *at != '"' && *at != '\\') (void)fputc(*at, stdout);
    (void)fputc('"', stdout);
    end_line();
}

int main(int argc, char **argv)
{
    static struct bench bench; /* zeroed, and too large for some stacks */
    struct flags flags = {0};
    char line[LINE_MAX_BYTES];
    omen_error err = {0};

    if (parse_flags(argc, argv, &flags, &err) != OMEN_OK) {
        (void)fprintf(stderr, "omen_engine_bench: %s\n", err.message);
        return 2;
    }
    omen_code code = open_all(&flags, &bench, &err);

    if (code == OMEN_OK) {
        (void)printf("{\"ready\": true, \"rows\": %" PRIu64 ", \"dim\": %u", bench.rows.count,
                     bench.rows.dim);
        end_line();
        while (fgets(line, sizeof line, stdin) != NULL && strcmp(line, "quit\n") != 0) {
            line[strcspn(line, "\n")] = '\0';
            obey(&bench, line);
        }
    } else {
        tell_error(&err);
    }
    close_all(&bench);
    return code == OMEN_OK ? 0 : 1;
}

/* ---- flags, begin and end ----------------------------------------------------------------- */

static omen_code parse_number(const char *name, const char *text, uint32_t *out, omen_error *err)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value > UINT32_MAX)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s %s is no number", name, text);
    *out = (uint32_t)value;
    return OMEN_OK;
}

static omen_code parse_flags(int argc, char **argv, struct flags *flags, omen_error *err)
{
    struct omen_bench_index_options *index = &flags->index;
    const struct {
        const char *name;
        const char **text;
        uint32_t *number;
    } known[] = {{"--rows", &flags->rows, NULL},
                 {"--queries", &flags->queries, NULL},
                 {"--dir", &index->dir, NULL},
                 {"--simd", &index->simd, NULL},
                 {"--ingest-threads", NULL, &index->ingest_threads},
                 {"--search-threads", NULL, &index->search_threads},
                 {"--links", NULL, &index->settings.links},
                 {"--candidates", NULL, &index->settings.candidates},
                 {"--probes", NULL, &index->settings.probes},
                 {"--epoch-points", NULL, &index->settings.epoch_points}};

    for (int at = 1; at < argc; at += 2) {
        size_t i = 0;

        while (i < sizeof known / sizeof *known && strcmp(argv[at], known[i].name) != 0)
            i++;
        if (i == sizeof known / sizeof *known || at + 1 == argc)
            return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s is no flag, or has no value",
                             argv[at]);
        if (known[i].text != NULL) {
            *known[i].text = argv[at + 1];
            continue;
        }
        omen_code code = parse_number(argv[at], argv[at + 1], known[i].number, err);

        if (code != OMEN_OK) return code;
    }
    if (flags->rows == NULL || flags->queries == NULL || index->dir == NULL)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "--rows, --queries and --dir are needed");
    return OMEN_OK;
}

static omen_code open_all(const struct flags *flags, struct bench *bench, omen_error *err)
{
    struct omen_bench_index_options options = flags->index;
    omen_code code = omen_load_rows_read(flags->rows, 0, &bench->rows, err);

    if (code == OMEN_OK) code = omen_load_rows_read(flags->queries, 0, &bench->queries, err);
    if (code != OMEN_OK) return code;
    if (bench->rows.dim != bench->queries.dim)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "rows of %u components, queries of %u",
                         bench->rows.dim, bench->queries.dim);
    bench->ids = calloc(bench->queries.count * K, sizeof *bench->ids);
    if (bench->ids == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for the ids");
    options.settings.dim = bench->rows.dim;
    options.settings.metric = OMEN_METRIC_COSINE;
    return omen_bench_index_open(&options, &bench->index, err);
}

static void close_all(struct bench *bench)
{
    omen_bench_index_close(&bench->index);
    free(bench->ids);
    omen_load_rows_close(&bench->rows);
    omen_load_rows_close(&bench->queries);
}

/* ---- commands ----------------------------------------------------------------------------- */

static void obey(struct bench *bench, const char *line)
{
    omen_error err = {0};
    size_t length = strcspn(line, " ");
    omen_code code = omen_fail(&err, OMEN_INVALID_ARGUMENT, "no such command: %s", line);

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == length && memcmp(line, commands[i].name, length) == 0)
            code = commands[i].run(bench, line, &err);
    if (code != OMEN_OK)
        tell_error(&err);
    else
        end_line();
}

/* The text after "name=", or NULL. It ends at a blank or at the end of the line. */
static const char *find_value(const char *line, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = strchr(line, ' '); at != NULL; at = strchr(at + 1, ' '))
        if (strncmp(at + 1, name, length) == 0 && at[1 + length] == '=') return at + length + 2;
    return NULL;
}

static double number_of(const char *line, const char *name, double otherwise)
{
    const char *value = find_value(line, name);

    return value != NULL ? strtod(value, NULL) : otherwise;
}

static omen_code build(struct bench *bench, const char *line, omen_error *err)
{
    double chunk = number_of(line, "chunk", OMEN_BENCH_CHUNK_MAX);
    double cpu = omen_load_cpu_own();
    struct omen_bench_fill fill;

    if (!(chunk >= 1 && chunk <= OMEN_BENCH_CHUNK_MAX))
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "chunk: limits are 1 and %u",
                         OMEN_BENCH_CHUNK_MAX);
    omen_code code = omen_bench_index_fill(&bench->index, bench->rows.values, bench->rows.count,
                                           (uint32_t)chunk, &fill, err);

    if (code != OMEN_OK) return code;
    if (fill.refused > 0)
        return omen_fail(err, OMEN_ABORTED, "%" PRIu64 " rows were refused", fill.refused);
    (void)printf("{\"seconds\": %.6f, \"durable_seconds\": %.6f, \"cpu_seconds\": %.3f, "
                 "\"rows\": %" PRIu64 ", \"decile_seconds\": [",
                 fill.searchable_seconds, fill.durable_seconds, omen_load_cpu_own() - cpu,
                 bench->rows.count);
    for (uint32_t i = 0; i < OMEN_BENCH_DECILES; i++)
        (void)printf("%s%.6f", i > 0 ? ", " : "", fill.deciles[i]);
    (void)fputc(']', stdout);
    return OMEN_OK;
}

static omen_code write_ids(const char *value, const int64_t *ids, uint64_t count, omen_error *err)
{
    size_t length = strcspn(value, " ");
    char path[LINE_MAX_BYTES];

    (void)snprintf(path, sizeof path, "%.*s", (int)length, value);
    FILE *file = fopen(path, "wb");

    if (file == NULL) return omen_fail(err, OMEN_UNAVAILABLE, "%.200s: cannot be written", path);
    bool bad = fwrite(ids, sizeof *ids, count, file) != count;

    if (fclose(file) != 0 || bad)
        return omen_fail(err, OMEN_UNAVAILABLE, "%.200s: a write failed", path);
    return OMEN_OK;
}

static omen_code search(struct bench *bench, const char *line, omen_error *err)
{
    struct omen_bench_asked asked = {.queries = bench->queries.values,
                                     .count = bench->queries.count,
                                     .batch = (uint32_t)number_of(line, "batch", 1),
                                     .k = K,
                                     .ef = (uint32_t)number_of(line, "ef", 0)};
    const char *ids = find_value(line, "ids");
    double least = number_of(line, "seconds", 0);
    double cpu = omen_load_cpu_own();
    int64_t begin = omen_load_clock_now();
    double seconds = 0;
    uint64_t visited = 0;
    uint64_t rounds = 0;

    if (asked.batch < 1 || asked.batch > OMEN_SEARCH_QUERIES_MAX)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "batch: limits are 1 and %u",
                         OMEN_SEARCH_QUERIES_MAX);
    memset(&bench->latency, 0, sizeof bench->latency);
    do {
        omen_code code = omen_bench_index_search(&bench->index, &asked, bench->ids, &visited,
                                                 &bench->latency, err);

        if (code != OMEN_OK) return code;
        rounds++;
        seconds = (double)(omen_load_clock_now() - begin) / 1e9;
    } while (seconds < least);
    if (ids != NULL) {
        omen_code code = write_ids(ids, bench->ids, asked.count * K, err);

        if (code != OMEN_OK) return code;
    }
    (void)printf("{\"seconds\": %.6f, \"cpu_seconds\": %.3f, \"queries\": %" PRIu64
                 ", \"visited\": %.1f, \"p50_ms\": %.6f, \"p99_ms\": %.6f",
                 seconds, omen_load_cpu_own() - cpu, asked.count * rounds,
                 (double)visited / (double)(asked.count * rounds),
                 (double)omen_load_histogram_percentile(&bench->latency, 0.5) / 1e6,
                 (double)omen_load_histogram_percentile(&bench->latency, 0.99) / 1e6);
    return OMEN_OK;
}

/* Bytes of a line of /proc/self/status; 0 if it is not there. */
static uint64_t resident(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char text[256];
    uint64_t kib = 0;

    if (file == NULL) return 0;
    while (fgets(text, sizeof text, file) != NULL)
        if (strncmp(text, name, strlen(name)) == 0) kib = strtoull(text + strlen(name), NULL, 10);
    (void)fclose(file);
    return kib << 10;
}

static omen_code tell_memory(struct bench *bench, const char *line, omen_error *err)
{
    struct omen_collection_info info;

    (void)line;
    (void)err;
    omen_collection_get_info(bench->index.collection, &info);
    (void)printf("{\"anonymous_bytes\": %" PRIu64 ", \"file_bytes\": %" PRIu64
                 ", \"index_bytes\": %" PRIu64,
                 resident("RssAnon:"), resident("RssFile:"), info.memory_bytes);
    return OMEN_OK;
}

static omen_code load(struct bench *bench, const char *line, omen_error *err)
{
    struct omen_bench_index_options options = bench->index.options;
    struct omen_bench_asked asked = {
        .queries = bench->queries.values, .count = 1, .batch = 1, .k = K};
    uint64_t visited = 0;

    (void)line;
    omen_bench_index_close(&bench->index);
    int64_t begin = omen_load_clock_now();
    omen_code code = omen_bench_index_open(&options, &bench->index, err);

    if (code == OMEN_OK)
        code = omen_bench_index_search(&bench->index, &asked, NULL, &visited, &bench->latency, err);
    if (code == OMEN_OK)
        (void)printf("{\"seconds\": %.6f", (double)(omen_load_clock_now() - begin) / 1e9);
    return code;
}

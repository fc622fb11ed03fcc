/* options.c - see options.h.
 *
 * One table has a line for every flag: its name, kind, place, limits and help. What the table
 * cannot say (flags that exclude each other) is checked at the end.
 *
 * Failure modes: an unknown flag, a missing or bad value and a combination without a meaning are
 * refused with a sentence that names them.
 */
#include "bench/load/options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_DEFAULT    10.0
#define CONCURRENCY_CLOSED 4
#define CONCURRENCY_OPEN   64
#define CONCURRENCY_MAX    4096
#define CONNECTIONS_MAX    64
#define STREAMS_MAX        64    /* of a connection; the server allows 100 calls on one */
#define CHUNK_MAX          30000 /* what a record can hold is checked with the dimension */

enum kind { KIND_TEXT, KIND_NUMBER, KIND_REAL, KIND_SWITCH, KIND_METRIC };

struct flag {
    const char *name;
    enum kind kind;
    size_t place; /* in struct omen_load_options */
    uint64_t min;
    uint64_t max;
    const char *help;
};

#define AT(member) offsetof(struct omen_load_options, member)
static const struct flag flags[] = {
    {"target", KIND_TEXT, AT(target), 0, 0, "HOST:PORT of the server (127.0.0.1:7420)"},
    {"collection", KIND_TEXT, AT(collection), 0, 0, "its name (load)"},
    {"connections", KIND_NUMBER, AT(connections), 1, CONNECTIONS_MAX,
     "TCP connections of ingest, and as many of search (1)"},
    {"server-pid", KIND_NUMBER, AT(server_pid), 1, 1 << 22,
     "tells the CPU time of this process of the same machine"},
    {"json", KIND_TEXT, AT(json), 0, 0, "FILE for all figures"},
    {"data", KIND_TEXT, AT(data), 0, 0, "FILE.npy with rows to insert (synthetic ones)"},
    {"queries", KIND_TEXT, AT(queries), 0, 0, "FILE.npy to search with (rows of --data)"},
    {"dim", KIND_NUMBER, AT(dim), OMEN_DIM_MIN, OMEN_DIM_MAX, "of synthetic rows (384)"},
    {"rows", KIND_NUMBER, AT(rows), 1, OMEN_SLOTS_MAX, "how many (all, or 100000 synthetic)"},
    {"seed", KIND_NUMBER, AT(seed), 0, UINT64_MAX, "of synthetic rows (1)"},
    {"create", KIND_SWITCH, AT(create), 0, 0, "create the collection first, drop it at the end"},
    {"keep", KIND_SWITCH, AT(keep), 0, 0, "do not drop it"},
    {"metric", KIND_METRIC, AT(metric), 0, 0,
     "l2, cosine or inner_product, with --create (cosine)"},
    {"streams", KIND_NUMBER, AT(streams), 1, STREAMS_MAX, "ingest streams of each connection (1)"},
    {"chunk", KIND_NUMBER, AT(chunk), 1, CHUNK_MAX, "points of a chunk (as many as fit, 500)"},
    {"window", KIND_NUMBER, AT(window), 1, 4096, "MiB of a stream not durable yet (the credit)"},
    {"first-id", KIND_NUMBER, AT(first_id), 0, UINT64_MAX - OMEN_SLOTS_MAX, "of the rows (0)"},
    {"ingest-rate", KIND_REAL, AT(ingest_rate), 0, 0, "vectors/s (as fast as they go)"},
    {"batch", KIND_NUMBER, AT(batch), 1, OMEN_SEARCH_QUERIES_MAX, "queries of a request (1)"},
    {"k", KIND_NUMBER, AT(k), 1, OMEN_K_MAX, "neighbours (10)"},
    {"ef", KIND_NUMBER, AT(ef), 1, OMEN_EF_MAX, "size of the search's pool (64)"},
    {"exact", KIND_SWITCH, AT(exact), 0, 0, "compare with every point"},
    {"concurrency", KIND_NUMBER, AT(concurrency), 1, CONCURRENCY_MAX,
     "search requests in flight (4; with --rate 64)"},
    {"rate", KIND_REAL, AT(rate), 0, 0,
     "search requests/s, whatever the answers do: open loop (closed loop)"},
    {"seconds", KIND_REAL, AT(seconds), 0, 0, "duration of search (10)"},
    {"requests", KIND_NUMBER, AT(requests), 1, UINT64_MAX, "number of search requests"},
};

static const struct {
    const char *name;
    omen_metric metric;
} metrics[] = {{"l2", OMEN_METRIC_L2},
               {"cosine", OMEN_METRIC_COSINE},
               {"inner_product", OMEN_METRIC_INNER_PRODUCT}};

static const char *const modes[] = {"ingest", "search", "mixed"};

static omen_code parse_flag(int argc, char **argv, int *at, struct omen_load_options *options,
                            omen_error *err);
static omen_code set_value(const struct flag *flag, const char *text,
                           struct omen_load_options *options, omen_error *err);
static omen_code settle(struct omen_load_options *options, omen_error *err);

const char *omen_load_mode_name(enum omen_load_mode mode)
{
    return modes[mode];
}

void omen_load_options_help(void)
{
    (void)puts(
        "omendb-load ingest|search|mixed [--FLAG VALUE ...]\n\n"
        "Loads an omendb-server and measures it: streams rows in, searches, or both at once\n"
        "(searches go on for as long as the ingest). Exit status 0: all went well; 1: a\n"
        "request, a stream or a row was refused; 2: the flags make no sense.\n");
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        (void)printf("  --%-12s %s\n", flags[i].name, flags[i].help);
}

omen_code omen_load_options_parse(int argc, char **argv, struct omen_load_options *options,
                                  bool *help, omen_error *err)
{
    *options = (struct omen_load_options){.target = "127.0.0.1:7420",
                                          .collection = "load",
                                          .connections = 1,
                                          .seed = 1,
                                          .streams = 1,
                                          .batch = 1,
                                          .k = OMEN_K_DEFAULT,
                                          .ef = 64};
    *help = false;
    for (int at = 1; at < argc; at++)
        if (strcmp(argv[at], "--help") == 0) *help = true;
    if (*help) return OMEN_OK;
    if (argc < 2)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "say ingest, search or mixed; see --help");
    for (options->mode = OMEN_LOAD_MODE_INGEST; options->mode <= OMEN_LOAD_MODE_MIXED;
         options->mode++)
        if (strcmp(argv[1], modes[options->mode]) == 0) break;
    if (options->mode > OMEN_LOAD_MODE_MIXED)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "mode %s is not ingest, search or mixed",
                         argv[1]);
    for (int at = 2; at < argc; at++) {
        omen_code code = parse_flag(argc, argv, &at, options, err);

        if (code != OMEN_OK) return code;
    }
    return settle(options, err);
}

/* "--name VALUE", "--name=VALUE", and "--name" of a switch. */
static omen_code parse_flag(int argc, char **argv, int *at, struct omen_load_options *options,
                            omen_error *err)
{
    const char *text = argv[*at];
    size_t length = strcspn(text, "=");
    const char *value = text[length] == '=' ? text + length + 1 : NULL;
    const struct flag *flag = NULL;

    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (length > 2 && strncmp(text, "--", 2) == 0 && strlen(flags[i].name) == length - 2 &&
            memcmp(text + 2, flags[i].name, length - 2) == 0)
            flag = &flags[i];
    if (flag == NULL)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s is no flag; see --help", text);
    if (flag->kind == KIND_SWITCH) {
        if (value != NULL)
            return omen_fail(err, OMEN_INVALID_ARGUMENT, "--%s takes no value", flag->name);
        *(bool *)(void *)((char *)options + flag->place) = true;
        return OMEN_OK;
    }
    if (value == NULL && *at + 1 < argc) value = argv[++*at];
    if (value == NULL || *value == '\0')
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "--%s wants a value", flag->name);
    return set_value(flag, value, options, err);
}

static omen_code set_value(const struct flag *flag, const char *text,
                           struct omen_load_options *options, omen_error *err)
{
    void *place = (char *)options + flag->place;
    char *end = NULL;

    errno = 0;
    if (flag->kind == KIND_TEXT) {
        *(const char **)place = text;
        return OMEN_OK;
    }
    if (flag->kind == KIND_METRIC) {
        for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
            if (strcmp(text, metrics[i].name) == 0) *(omen_metric *)place = metrics[i].metric;
        if (options->metric != 0) return OMEN_OK;
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "--metric %s is not l2, cosine or inner_product", text);
    }
    if (flag->kind == KIND_REAL) {
        double value = strtod(text, &end);

        if (*end == '\0' && isfinite(value) && value > 0 && value <= 1e9) {
            *(double *)place = value;
            return OMEN_OK;
        }
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "--%s %s is not a number above 0, up to 1e9",
                         flag->name, text);
    }
    uint64_t value = strtoull(text, &end, 10);

    if (*end != '\0' || errno != 0 || *text == '-' || value < flag->min || value > flag->max)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "--%s %s: limits are %" PRIu64 " and %" PRIu64,
                         flag->name, text, flag->min, flag->max);
    *(uint64_t *)place = value;
    return OMEN_OK;
}

/* Flags that exclude each other, and defaults that depend on others. */
static omen_code settle(struct omen_load_options *options, omen_error *err)
{
    bool mixed = options->mode == OMEN_LOAD_MODE_MIXED;

    if (options->data != NULL && options->dim != 0)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "--dim is the file's when --data is given");
    if (options->create && options->mode == OMEN_LOAD_MODE_SEARCH)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "--create: search needs a filled collection");
    if (!options->create && options->metric != 0)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "--metric is chosen with --create");
    if (mixed && (options->seconds > 0 || options->requests > 0))
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "--seconds and --requests: mixed searches for as long as it ingests");
    if (!mixed && options->seconds <= 0 && options->requests == 0)
        options->seconds = SECONDS_DEFAULT;
    if (options->concurrency == 0)
        options->concurrency = options->rate > 0 ? CONCURRENCY_OPEN : CONCURRENCY_CLOSED;
    if (options->mode != OMEN_LOAD_MODE_INGEST && options->concurrency < options->connections)
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "--concurrency %" PRIu64 ": each of %" PRIu64 " connections needs one",
                         options->concurrency, options->connections);
    if (options->concurrency > options->connections * 100 && options->mode != OMEN_LOAD_MODE_INGEST)
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "--concurrency %" PRIu64 ": the server takes 100 calls at once on each of"
                         " %" PRIu64 " connections",
                         options->concurrency, options->connections);
    if (options->metric == 0) options->metric = OMEN_METRIC_COSINE;
    if (options->dim == 0) options->dim = 384;
    if (options->rows == 0 && options->data == NULL) options->rows = 100000;
    return OMEN_OK;
}

/* ingest.c - see ingest.h.
 *
 * A thread drives one connection: it opens its streams, waits until all are opened, and then keeps
 * each of them full. Chunks are numbered for the whole run and a stream takes the next one when it
 * may send: no message is being written, and what is not durable yet leaves room in the window.
 * With a rate, chunk n is due at n / rate and its latency counts from then, sent or not, so that a
 * server that holds us up cannot hide it.
 *
 * Deciles are found between two acks by a straight line: an ack moves a watermark by an epoch. Acks
 * of one epoch that go to several streams are one step.
 *
 * Failure modes: a stream that ends with an error leaves its chunks unacknowledged, and is told;
 * the others go on with the chunks that are left.
 */
#include "bench/load/ingest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/clock.h"
#include "bench/load/messages.h"
#include "bench/load/transport.h"

#define CHUNK_DEFAULT_MAX 500u
#define STALLED_SECONDS   120 /* without any event: the server hangs */

enum level { DURABLE, SEARCHABLE, LEVELS };

/* A chunk that was sent, at index seq - 1. */
struct sent {
    int64_t at; /* when it was due, or sent if there is no rate */
    uint32_t rows;
};

struct stream {
    struct driver *driver;
    omen_load_call *call; /* NULL: ended */
    struct sent *sent;
    uint64_t chunks; /* sent */
    uint64_t reached[LEVELS];
    uint64_t open_bytes; /* sent and not durable */
    uint64_t ticket;     /* a chunk that is taken and not sent */
    bool has_ticket;
    bool opened;
    bool writing;
    bool finished; /* half-closed */
};

/* Rows that reached a level between the step before and this one. */
struct step {
    int64_t at;
    uint64_t rows;
};

/* One connection and its thread, which alone writes it; read after its end. */
struct driver {
    omen_load_ingest *ingest;
    pthread_t thread;
    omen_load_connection *connection;
    struct stream *streams;
    uint64_t live;
    bool given_up;                      /* we cancelled the streams: their status tells nothing */
    struct omen_load_ingest_result own; /* counts and latencies; no rates */
    omen_code code;
    omen_error err;
};

struct omen_load_ingest {
    /* Fixed at start. */
    struct omen_load_run *run;
    struct driver *drivers;
    uint64_t chunk_points;
    uint64_t chunks;
    uint64_t started; /* threads */

    /* Under `lock`: progress of all streams together. */
    pthread_mutex_t lock;
    struct step *steps[LEVELS]; /* room for one of each chunk */
    uint64_t step_count[LEVELS];
};

static void *drive(void *user);
static bool open_streams(struct driver *driver);
static void send_all(struct driver *driver);
static bool await(struct driver *driver, int64_t wake);
static int64_t pump(struct stream *stream);
static void send_chunk(struct stream *stream, int64_t due);
static void handle(struct driver *driver, const struct omen_load_event *event);
static void take_answer(struct stream *stream, struct omen_load_bytes message);
static void reach(struct stream *stream, enum level level, uint64_t seq);
static void add_step(omen_load_ingest *ingest, enum level level, struct step step);
static void end_stream(struct stream *stream);
static void fail_driver(struct driver *driver, omen_code code, const omen_error *err);
static void collect(omen_load_ingest *ingest, struct omen_load_ingest_result *result);
static void free_ingest(omen_load_ingest *ingest);

/* ---- start and end ------------------------------------------------------------------------ */

/* What the server takes is a matter of the record that it makes of a chunk. */
static uint64_t points_that_fit(uint32_t dim)
{
    uint32_t points = OMEN_RECORD_BYTES_MAX / (dim * (uint32_t)sizeof(float));

    while (points > 1 && omen_chunk_record_bytes(points, dim) > OMEN_RECORD_BYTES_MAX)
        points--;
    return points;
}

omen_code omen_load_ingest_start(struct omen_load_run *run, omen_load_ingest **out, omen_error *err)
{
    const struct omen_load_options *options = run->options;
    uint64_t fit = points_that_fit(run->rows->dim);
    omen_load_ingest *ingest = NULL;

    *out = NULL;
    if (options->chunk > fit)
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "--chunk %" PRIu64 ": %" PRIu64
                         " points of dim %u fit a record of %u bytes",
                         options->chunk, fit, run->rows->dim, OMEN_RECORD_BYTES_MAX);
    ingest = calloc(1, sizeof *ingest);
    if (ingest == NULL) goto no_memory;
    ingest->run = run;
    ingest->chunk_points = options->chunk != 0       ? options->chunk
                           : fit < CHUNK_DEFAULT_MAX ? fit
                                                     : CHUNK_DEFAULT_MAX;
    ingest->chunks = (run->rows->count + ingest->chunk_points - 1) / ingest->chunk_points;
    (void)pthread_mutex_init(&ingest->lock, NULL);
    ingest->drivers = calloc(options->connections, sizeof *ingest->drivers);
    if (ingest->drivers == NULL) goto no_memory;
    for (uint64_t i = 0; i < options->connections; i++) {
        struct driver *driver = &ingest->drivers[i];

        driver->ingest = ingest;
        driver->streams = calloc(options->streams, sizeof *driver->streams);
        if (driver->streams == NULL) goto no_memory;
        for (uint64_t s = 0; s < options->streams; s++) {
            driver->streams[s].driver = driver;
            driver->streams[s].sent = calloc(ingest->chunks, sizeof(struct sent));
            if (driver->streams[s].sent == NULL) goto no_memory;
        }
    }
    for (uint32_t level = 0; level < LEVELS; level++) {
        ingest->steps[level] = calloc(ingest->chunks, sizeof(struct step));
        if (ingest->steps[level] == NULL) goto no_memory;
    }
    atomic_store(&run->ingesting, (unsigned)options->connections);
    for (; ingest->started < options->connections; ingest->started++) {
        struct driver *driver = &ingest->drivers[ingest->started];

        /* The others already wait at the gate: there is no way back. */
        if (pthread_create(&driver->thread, NULL, drive, driver) != 0) abort();
    }
    *out = ingest;
    return OMEN_OK;

no_memory:
    free_ingest(ingest);
    return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "memory for the streams");
}

omen_code omen_load_ingest_end(omen_load_ingest *ingest, struct omen_load_ingest_result *result,
                               omen_error *err)
{
    omen_code code = OMEN_OK;

    if (ingest == NULL) return OMEN_OK;
    for (uint64_t i = 0; i < ingest->started; i++) {
        struct driver *driver = &ingest->drivers[i];

        (void)pthread_join(driver->thread, NULL);
        if (driver->code == OMEN_OK || code != OMEN_OK) continue;
        code = driver->code;
        *err = driver->err;
    }
    collect(ingest, result);
    if (code == OMEN_OK && result->errors > 0)
        code = omen_fail(err, OMEN_FAILED_PRECONDITION, "%" PRIu64 " rows were refused: %.160s",
                         result->errors, result->first_error);
    free_ingest(ingest);
    return code;
}

static void free_ingest(omen_load_ingest *ingest)
{
    if (ingest == NULL) return;
    for (uint64_t i = 0; ingest->drivers != NULL && i < ingest->run->options->connections; i++) {
        struct stream *streams = ingest->drivers[i].streams;

        for (uint64_t s = 0; streams != NULL && s < ingest->run->options->streams; s++)
            free(streams[s].sent);
        free(streams);
    }
    free(ingest->drivers);
    for (uint32_t level = 0; level < LEVELS; level++)
        free(ingest->steps[level]);
    (void)pthread_mutex_destroy(&ingest->lock);
    free(ingest);
}

/* ---- one connection ----------------------------------------------------------------------- */

static void *drive(void *user)
{
    struct driver *driver = user;
    struct omen_load_run *run = driver->ingest->run;

    if (omen_load_run_enter(run, open_streams(driver))) send_all(driver);
    driver->given_up = driver->live > 0;
    for (uint64_t s = 0; s < run->options->streams; s++)
        if (driver->streams[s].call != NULL) omen_load_call_cancel(driver->streams[s].call);
    while (driver->live > 0) {
        struct omen_load_event event;

        if (omen_load_connection_next(driver->connection, OMEN_LOAD_NEVER, &event))
            handle(driver, &event);
    }
    atomic_fetch_sub(&run->ingesting, 1);
    omen_load_connection_close(driver->connection);
    return NULL;
}

/* Returns when all streams were opened, or one cannot be. */
static bool open_streams(struct driver *driver)
{
    const struct omen_load_options *options = driver->ingest->run->options;
    omen_error err;
    omen_code code = omen_load_connection_open(options->target, &driver->connection, &err);

    if (code != OMEN_OK) {
        fail_driver(driver, code, &err);
        return false;
    }
    for (uint64_t s = 0; s < options->streams; s++) {
        struct stream *stream = &driver->streams[s];

        stream->call = omen_load_call_stream(driver->connection, OMEN_LOAD_INSERT, stream);
        stream->writing = true;
        driver->live++;
        omen_load_call_send(stream->call, omen_load_encode_open(options->collection));
    }
    for (uint64_t s = 0; s < options->streams; s++)
        while (!driver->streams[s].opened && driver->code == OMEN_OK)
            (void)await(driver, OMEN_LOAD_NEVER);
    return driver->code == OMEN_OK;
}

static void send_all(struct driver *driver)
{
    uint64_t streams = driver->ingest->run->options->streams;

    while (driver->live > 0) {
        int64_t wake = OMEN_LOAD_NEVER;

        for (uint64_t s = 0; s < streams; s++) {
            int64_t due = pump(&driver->streams[s]);

            if (due < wake) wake = due;
        }
        if (!await(driver, wake)) return;
    }
}

/* Handles one event, or returns at `wake`; false: the server says nothing any more. */
static bool await(struct driver *driver, int64_t wake)
{
    int64_t stalled = omen_load_clock_now() + STALLED_SECONDS * OMEN_LOAD_SECOND;
    struct omen_load_event event;
    omen_error err;

    if (omen_load_connection_next(driver->connection, wake < stalled ? wake : stalled, &event)) {
        handle(driver, &event);
        return true;
    }
    if (wake <= stalled) return true;
    fail_driver(driver,
                omen_fail(&err, OMEN_DEADLINE_EXCEEDED, "no answer on a stream for %d seconds",
                          STALLED_SECONDS),
                &err);
    return false;
}

/* Sends what the stream may send now; returns when to try again if nothing happens before. */
static int64_t pump(struct stream *stream)
{
    omen_load_ingest *ingest = stream->driver->ingest;
    struct omen_load_run *run = ingest->run;
    double rate = run->options->ingest_rate;

    if (stream->call == NULL || stream->writing || stream->finished) return OMEN_LOAD_NEVER;
    if (!stream->has_ticket) {
        stream->ticket = atomic_fetch_add(&run->next_chunk, 1);
        stream->has_ticket = true;
    }
    if (stream->ticket >= ingest->chunks) {
        stream->finished = true;
        omen_load_call_finish(stream->call);
        return OMEN_LOAD_NEVER;
    }
    uint64_t window = stream->driver->own.window_bytes;
    uint64_t bytes = ingest->chunk_points * run->rows->dim * sizeof(float);

    if (stream->open_bytes > 0 && stream->open_bytes + bytes > window) return OMEN_LOAD_NEVER;
    int64_t now = omen_load_clock_now();
    int64_t due = now;

    if (rate > 0) {
        double after = (double)(stream->ticket * ingest->chunk_points) / rate;

        due = run->begin + (int64_t)(after * 1e9);
        if (due > now) return due;
    }
    send_chunk(stream, due);
    return OMEN_LOAD_NEVER;
}

static void send_chunk(struct stream *stream, int64_t due)
{
    omen_load_ingest *ingest = stream->driver->ingest;
    struct omen_load_run *run = ingest->run;
    uint64_t first = stream->ticket * ingest->chunk_points;
    uint64_t left = run->rows->count - first;
    struct omen_load_chunk chunk = {
        .seq = stream->chunks + 1,
        .first_id = run->options->first_id + first,
        .first = first,
        .count = (uint32_t)(left < ingest->chunk_points ? left : ingest->chunk_points)};

    stream->sent[stream->chunks] = (struct sent){.at = due, .rows = chunk.count};
    stream->chunks++;
    stream->open_bytes += (uint64_t)chunk.count * run->rows->dim * sizeof(float);
    stream->has_ticket = false;
    stream->writing = true;
    stream->driver->own.chunks++;
    stream->driver->own.rows_sent += chunk.count;
    omen_load_call_send(stream->call, omen_load_encode_chunk(&chunk, run->rows));
}

/* ---- what comes back ---------------------------------------------------------------------- */

static void handle(struct driver *driver, const struct omen_load_event *event)
{
    struct stream *stream = event->user;

    switch (event->kind) {
    case OMEN_LOAD_SENT:
        stream->writing = false;
        break;
    case OMEN_LOAD_RECEIVED:
        take_answer(stream, omen_load_call_message(event->call));
        omen_load_call_receive(event->call);
        break;
    case OMEN_LOAD_ENDED:
        end_stream(stream);
        driver->live--;
        break;
    }
}

static void take_answer(struct stream *stream, struct omen_load_bytes message)
{
    struct driver *driver = stream->driver;
    const struct omen_load_run *run = driver->ingest->run;
    struct omen_load_insert_answer answer;
    omen_error err;

    if (!omen_load_decode_insert(message, &answer)) {
        fail_driver(driver, omen_fail(&err, OMEN_INTERNAL, "an InsertResponse does not parse"),
                    &err);
        return;
    }
    if (run->options->window != 0)
        driver->own.window_bytes = run->options->window << 20;
    else if (answer.credit_bytes != 0)
        driver->own.window_bytes = answer.credit_bytes;
    if (answer.opened) {
        stream->opened = true;
        if (answer.dim != run->rows->dim)
            fail_driver(driver,
                        omen_fail(&err, OMEN_INVALID_ARGUMENT, "rows of dim %u, %s has dim %u",
                                  run->rows->dim, run->options->collection, answer.dim),
                        &err);
        return;
    }
    if (driver->own.errors == 0 && answer.errors > 0)
        memcpy(driver->own.first_error, answer.first_error, sizeof answer.first_error);
    driver->own.errors += answer.errors;
    reach(stream, DURABLE, answer.durable_seq);
    reach(stream, SEARCHABLE, answer.searchable_seq);
}

static void reach(struct stream *stream, enum level level, uint64_t seq)
{
    struct driver *driver = stream->driver;
    struct omen_load_level *own = level == DURABLE ? &driver->own.durable : &driver->own.searchable;
    int64_t now = omen_load_clock_now();
    uint64_t rows = 0;

    if (seq > stream->chunks) seq = stream->chunks;
    for (; stream->reached[level] < seq; stream->reached[level]++) {
        const struct sent *sent = &stream->sent[stream->reached[level]];

        omen_load_histogram_add(&own->latency, now - sent->at);
        rows += sent->rows;
    }
    if (rows == 0) return;
    own->rows += rows;
    if (level == DURABLE)
        stream->open_bytes -= rows * driver->ingest->run->rows->dim * sizeof(float);
    add_step(driver->ingest, level, (struct step){.at = now, .rows = rows});
}

static void add_step(omen_load_ingest *ingest, enum level level, struct step step)
{
    (void)pthread_mutex_lock(&ingest->lock);
    ingest->steps[level][ingest->step_count[level]++] = step;
    (void)pthread_mutex_unlock(&ingest->lock);
}

static void end_stream(struct stream *stream)
{
    struct driver *driver = stream->driver;
    omen_error err;
    omen_code code = omen_load_call_status(stream->call, &err);

    if (code == OMEN_OK && stream->reached[SEARCHABLE] < stream->chunks)
        code = omen_fail(&err, OMEN_INTERNAL,
                         "a stream ended well with %" PRIu64 " of %" PRIu64 " chunks searchable",
                         stream->reached[SEARCHABLE], stream->chunks);
    if (code != OMEN_OK && !driver->given_up) {
        driver->own.broken_streams++;
        fail_driver(driver, code, &err);
    }
    omen_load_call_destroy(stream->call);
    stream->call = NULL;
}

/* Keeps the first failure: what follows is often its consequence. */
static void fail_driver(struct driver *driver, omen_code code, const omen_error *err)
{
    if (driver->code != OMEN_OK) return;
    driver->code = code;
    driver->err = *err;
}

/* ---- figures ------------------------------------------------------------------------------ */

static void add_level(struct omen_load_level *into, const struct omen_load_level *from)
{
    into->rows += from->rows;
    omen_load_histogram_merge(&into->latency, &from->latency);
}

/* Joins steps that are closer than a hundredth of the whole time; returns how many are left. */
static uint64_t join_steps(struct step *steps, uint64_t count, int64_t begin)
{
    int64_t apart = (steps[count - 1].at - begin) / 100;
    int64_t opened = 0; /* when the first of the joined ones came */
    uint64_t kept = 0;

    for (uint64_t i = 0; i < count; i++) {
        if (kept > 0 && steps[i].at - opened < apart) {
            steps[kept - 1].at = steps[i].at;
            steps[kept - 1].rows += steps[i].rows;
        } else {
            opened = steps[i].at;
            steps[kept++] = steps[i];
        }
    }
    return kept;
}

static void finish_level(const omen_load_ingest *ingest, enum level level, uint64_t refused,
                         struct omen_load_level *out)
{
    struct step *steps = ingest->steps[level];
    uint64_t count = ingest->step_count[level];
    int64_t begin = ingest->run->begin;
    double tenth = (double)ingest->run->rows->count / OMEN_LOAD_DECILES;
    double from = 0; /* nanoseconds after begin */
    double rows = 0;
    double crossed = 0; /* the last boundary of a tenth */
    uint32_t decile = 0;

    if (count == 0) return;
    out->seconds = (double)(steps[count - 1].at - begin) / 1e9;
    out->per_second = (double)(out->rows - refused) / out->seconds;
    count = join_steps(steps, count, begin);
    for (uint64_t i = 0; i < count; i++) {
        double to = (double)(steps[i].at - begin);
        double after = rows + (double)steps[i].rows;

        /* Half a row: the last boundary must not be missed for a rounding error. */
        for (; decile < OMEN_LOAD_DECILES && tenth * (decile + 1) <= after + 0.5; decile++) {
            double part = (tenth * (decile + 1) - rows) / (double)steps[i].rows;
            double at = from + (to - from) * part;

            if (at > crossed) out->deciles[decile] = tenth / (at - crossed) * 1e9;
            crossed = at;
        }
        from = to;
        rows = after;
    }
}

static void collect(omen_load_ingest *ingest, struct omen_load_ingest_result *result)
{
    memset(result, 0, sizeof *result);
    result->chunk_points = ingest->chunk_points;
    for (uint64_t i = 0; i < ingest->started; i++) {
        const struct driver *driver = &ingest->drivers[i];

        result->rows_sent += driver->own.rows_sent;
        result->chunks += driver->own.chunks;
        result->errors += driver->own.errors;
        result->broken_streams += driver->own.broken_streams;
        result->window_bytes = driver->own.window_bytes;
        if (result->first_error[0] == '\0')
            memcpy(result->first_error, driver->own.first_error, sizeof result->first_error);
        add_level(&result->durable, &driver->own.durable);
        add_level(&result->searchable, &driver->own.searchable);
    }
    finish_level(ingest, DURABLE, result->errors, &result->durable);
    finish_level(ingest, SEARCHABLE, result->errors, &result->searchable);
}

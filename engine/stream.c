/* stream.c - see stream.h and engine.h: open, push, watermarks, item errors, close. */
#include "engine/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "engine/chunk.h"
#include "engine/collection.h"
#include "engine/ingest.h"
#include "engine/memory.h"

/* Item errors that a client leaves untaken; beyond, nothing more is read from it. */
#define ERRORS_UNTAKEN_MAX 65536u

struct error_batch {
    struct error_batch *next;
    struct omen_item_error *items;
    uint32_t count, taken;
};

struct omen_stream {
    /* Fixed once opened. */
    omen_collection *collection; /* counted */
    omen_stream_event_fn *event;
    void *event_user;
    uint8_t session_id[OMEN_SESSION_ID_BYTES];
    omen_write_mode mode;
    bool sessionless;

    /* Any thread. */
    _Atomic uint32_t references;

    /* Under the ingest queues' mutex. */
    omen_stream *next;
    uint64_t round;
    struct omen_pending closing;

    pthread_mutex_t mutex;
    pthread_cond_t quiet; /* no callback runs */
    /* All below: under the mutex. */
    bool opened;
    bool closed;
    bool notifying, again;
    bool news;    /* something changed since the last event */
    bool starved; /* poll said: no room */
    uint64_t generation;
    uint64_t next_seq;
    uint64_t errors_from_seq;
    uint64_t received_seq, durable_seq, searchable_seq;
    uint64_t log_position;
    uint64_t pending_bytes; /* not searchable */
    uint64_t queued_bytes;  /* not admitted */
    omen_code code;
    omen_error error;
    struct error_batch *errors_first, *errors_last;
    uint32_t errors_untaken;
};

static omen_code check_push(omen_stream *stream, uint64_t seq, bool *old, omen_error *err);
static omen_code check_chunk(const omen_chunk *chunk, omen_error *err);
static bool has_room(const omen_stream *stream);

static void lock(omen_stream *stream)
{
    (void)pthread_mutex_lock(&stream->mutex);
}

static void unlock(omen_stream *stream)
{
    (void)pthread_mutex_unlock(&stream->mutex);
}

omen_code omen_stream_open(omen_collection *collection, const struct omen_stream_options *options,
                           omen_stream **out, omen_error *err)
{
    static const uint8_t nobody[OMEN_SESSION_ID_BYTES];
    omen_stream *stream = NULL;
    omen_code code = OMEN_OK;

    *out = NULL;
    if (options->mode < OMEN_WRITE_INSERT_ONLY || options->mode > OMEN_WRITE_UPDATE_ONLY)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_MODE",
                                 "mode is %d; it is 1 (INSERT_ONLY), 2 (UPSERT) or 3 (UPDATE_ONLY)",
                                 (int)options->mode);
    stream = omen_alloc_zeroed(sizeof *stream);
    if (stream == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a stream");
    (void)pthread_mutex_init(&stream->mutex, NULL);
    (void)pthread_cond_init(&stream->quiet, NULL);
    atomic_init(&stream->references, 1);
    stream->collection = collection;
    stream->event = options->event;
    stream->event_user = options->event_user;
    stream->mode = options->mode;
    stream->sessionless = options->sessionless;
    if (!options->sessionless)
        memcpy(stream->session_id, options->session_id, sizeof stream->session_id);
    if (!options->sessionless && memcmp(stream->session_id, nobody, sizeof nobody) == 0 &&
        getrandom(stream->session_id, sizeof stream->session_id, 0) !=
            (ssize_t)sizeof stream->session_id) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "no random bytes for a session id");
    }
    if (options->sessionless) {
        stream->opened = true;
        stream->next_seq = stream->errors_from_seq = 1;
    }
    omen_collection_retain(collection);
    if (code == OMEN_OK && options->sessionless)
        code = omen_ingest_join(collection, stream, err);
    else if (code == OMEN_OK)
        code =
            omen_ingest_open(collection, stream, stream->session_id, options->errors_seen_seq, err);
    if (code != OMEN_OK) {
        omen_stream_release(stream);
        return code;
    }
    *out = stream;
    return OMEN_OK;
}

void omen_stream_poll(omen_stream *stream, struct omen_stream_state *out)
{
    lock(stream);
    memcpy(out->session_id, stream->session_id, sizeof out->session_id);
    out->opened = stream->opened;
    out->next_seq = stream->next_seq;
    out->errors_from_seq = stream->errors_from_seq;
    out->pending_bytes = stream->pending_bytes;
    out->queued_bytes = stream->queued_bytes;
    out->received_seq = stream->received_seq;
    out->durable_seq = stream->durable_seq;
    out->searchable_seq = stream->searchable_seq;
    out->log_position = stream->log_position;
    out->room = has_room(stream);
    stream->starved = !out->room;
    out->code = stream->code;
    out->error = stream->error;
    unlock(stream);
}

size_t omen_stream_take_errors(omen_stream *stream, struct omen_item_error *out, size_t room,
                               uint64_t *complete_seq)
{
    size_t taken = 0;

    lock(stream);
    while (taken < room && stream->errors_first != NULL) {
        struct error_batch *batch = stream->errors_first;

        out[taken++] = batch->items[batch->taken++];
        stream->errors_untaken--;
        if (batch->taken < batch->count) continue;
        stream->errors_first = batch->next;
        if (stream->errors_first == NULL) stream->errors_last = NULL;
        omen_free(batch->items);
        omen_free(batch);
    }
    *complete_seq = stream->durable_seq;
    if (stream->errors_first != NULL) {
        const struct error_batch *batch = stream->errors_first;
        *complete_seq = batch->items[batch->taken].seq - 1;
    }
    unlock(stream);
    return taken;
}

omen_code omen_stream_push(omen_stream *stream, uint64_t seq, omen_chunk *chunk, omen_error *err)
{
    const omen_collection *collection = stream->collection;
    bool old = false;
    omen_code code = check_push(stream, seq, &old, err);

    if (code == OMEN_OK && !old)
        code = omen_chunk_encode(chunk, &collection->kernels, &collection->settings, err);
    if (code == OMEN_OK && !old) code = check_chunk(chunk, err);
    if (code == OMEN_OK && !old) {
        memcpy(chunk->session_id, stream->session_id, sizeof chunk->session_id);
        chunk->generation = stream->generation; /* fixed once opened, which check_push saw */
        chunk->seq = seq;
        chunk->mode = stream->mode;
        for (uint32_t i = 0; i < chunk->error_count; i++)
            chunk->errors[i].seq = seq;
        code = omen_chunk_seal(chunk, (uint32_t)time(NULL), err);
    }
    if (code != OMEN_OK || old) {
        omen_chunk_destroy(chunk);
        return code;
    }
    uint64_t bytes = omen_chunk_bytes(chunk);
    lock(stream);
    stream->received_seq = seq; /* before the log thread may call it durable */
    stream->pending_bytes += bytes;
    stream->queued_bytes += bytes;
    unlock(stream);
    code = omen_ingest_chunk(stream->collection, stream, chunk, bytes, err);
    if (code != OMEN_OK) { /* not received: the same number may come again */
        lock(stream);
        stream->received_seq = seq - 1;
        stream->pending_bytes -= bytes;
        stream->queued_bytes -= bytes;
        unlock(stream);
    }
    return code;
}

void omen_stream_close(omen_stream *stream)
{
    if (stream == NULL) return;
    lock(stream);
    stream->closed = true;
    while (stream->notifying)
        (void)pthread_cond_wait(&stream->quiet, &stream->mutex);
    unlock(stream);
    omen_ingest_closed(stream->collection, stream, stream->session_id);
    omen_stream_release(stream);
}

uint32_t omen_stream_dim(const omen_stream *stream)
{
    return stream->collection->settings.dim;
}

void omen_stream_retain(omen_stream *stream)
{
    atomic_fetch_add_explicit(&stream->references, 1, memory_order_relaxed);
}

void omen_stream_release(omen_stream *stream)
{
    omen_collection *collection;

    if (stream == NULL) return;
    if (atomic_fetch_sub_explicit(&stream->references, 1, memory_order_acq_rel) != 1) return;
    while (stream->errors_first != NULL) {
        struct error_batch *batch = stream->errors_first;

        stream->errors_first = batch->next;
        omen_free(batch->items);
        omen_free(batch);
    }
    collection = stream->collection;
    (void)pthread_cond_destroy(&stream->quiet);
    (void)pthread_mutex_destroy(&stream->mutex);
    omen_free(stream);
    omen_collection_release(collection);
}

void omen_stream_kill(omen_stream *stream, omen_code code, const omen_error *why)
{
    lock(stream);
    if (stream->code == OMEN_OK) {
        stream->code = code;
        stream->error = *why;
        stream->news = true;
    }
    unlock(stream);
    omen_stream_notify(stream);
}

bool omen_stream_is_dead(omen_stream *stream)
{
    bool dead;

    lock(stream);
    dead = stream->code != OMEN_OK;
    unlock(stream);
    return dead;
}

/* Under the mutex: `batch` has its items, which the stream owns from now on. */
static void add_batch(omen_stream *stream, struct error_batch *batch)
{
    if (stream->errors_last != NULL)
        stream->errors_last->next = batch;
    else
        stream->errors_first = batch;
    stream->errors_last = batch;
    stream->errors_untaken += batch->count;
}

bool omen_stream_opened(omen_stream *stream, const struct omen_stream_opening *opening)
{
    struct error_batch *batch = NULL;
    size_t bytes = opening->error_count * sizeof *opening->errors;

    if (opening->error_count > 0) {
        batch = omen_alloc(sizeof *batch);
        if (batch == NULL) return false;
        *batch = (struct error_batch){NULL, omen_alloc(bytes), opening->error_count, 0};
        if (batch->items == NULL) {
            omen_free(batch);
            return false;
        }
        memcpy(batch->items, opening->errors, bytes);
    }
    lock(stream);
    if (batch != NULL) add_batch(stream, batch);
    stream->opened = true;
    stream->generation = opening->generation;
    stream->next_seq = opening->last_seq + 1;
    stream->errors_from_seq = opening->errors_from_seq;
    stream->received_seq = stream->durable_seq = opening->last_seq;
    if (opening->searchable) stream->searchable_seq = opening->last_seq;
    stream->log_position = opening->generation;
    stream->news = true;
    unlock(stream);
    return true;
}

bool omen_stream_durable(omen_stream *stream, uint64_t seq, uint64_t position,
                         struct omen_item_error *errors, uint32_t error_count)
{
    struct error_batch *batch = NULL;

    if (error_count > 0) {
        batch = omen_alloc(sizeof *batch);
        if (batch == NULL) return false;
        *batch = (struct error_batch){NULL, errors, error_count, 0};
    }
    lock(stream);
    if (batch != NULL) add_batch(stream, batch);
    stream->durable_seq = seq;
    stream->log_position = position;
    stream->news = true;
    unlock(stream);
    return true;
}

void omen_stream_searchable(omen_stream *stream, uint64_t seq, uint64_t bytes)
{
    lock(stream);
    if (seq > stream->searchable_seq) stream->searchable_seq = seq;
    stream->pending_bytes -= bytes;
    stream->news = true;
    unlock(stream);
}

void omen_stream_freed(omen_stream *stream, uint64_t bytes)
{
    lock(stream);
    stream->queued_bytes -= bytes;
    stream->news = true;
    unlock(stream);
}

void omen_stream_dropped(omen_stream *stream, uint64_t bytes)
{
    lock(stream);
    stream->pending_bytes -= bytes;
    unlock(stream);
}

void omen_stream_notify(omen_stream *stream)
{
    lock(stream);
    if (stream->notifying) {
        stream->again = true;
        unlock(stream);
        return;
    }
    for (;;) {
        bool due = stream->news || (stream->starved && has_room(stream));

        if (stream->closed || !due) break;
        stream->news = stream->starved = stream->again = false;
        stream->notifying = true;
        unlock(stream);
        stream->event(stream->event_user);
        lock(stream);
        stream->notifying = false;
        if (stream->closed || !stream->again) break;
    }
    (void)pthread_cond_broadcast(&stream->quiet);
    unlock(stream);
}

omen_stream **omen_stream_next(omen_stream *stream)
{
    return &stream->next;
}

uint64_t *omen_stream_round(omen_stream *stream)
{
    return &stream->round;
}

struct omen_pending *omen_stream_closing(omen_stream *stream)
{
    return &stream->closing;
}

static omen_code check_push(omen_stream *stream, uint64_t seq, bool *old, omen_error *err)
{
    omen_code code = OMEN_OK;

    lock(stream);
    if (stream->code != OMEN_OK) {
        code = stream->code;
        if (err != NULL) *err = stream->error;
    } else if (!stream->opened) {
        code = omen_fail_because(err, OMEN_INVALID_ARGUMENT, "NOT_OPENED",
                                 "a chunk came before the server's Opened");
    } else if (seq > stream->received_seq + 1 || seq == 0) {
        code = omen_fail_because(err, OMEN_INVALID_ARGUMENT, "SEQUENCE_GAP",
                                 "chunk.seq is %llu, the next one is %llu", (unsigned long long)seq,
                                 (unsigned long long)stream->received_seq + 1);
    }
    *old = seq <= stream->received_seq;
    unlock(stream);
    return code;
}

static omen_code check_chunk(const omen_chunk *chunk, omen_error *err)
{
    size_t bytes = omen_chunk_bytes(chunk);

    if (bytes > OMEN_RECORD_BYTES_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "TOO_LARGE",
                                 "chunk has %u points of dimension %u and %u deletes, %zu bytes as "
                                 "a record; the limit is %u",
                                 chunk->count, chunk->dim, chunk->delete_count, bytes,
                                 OMEN_RECORD_BYTES_MAX);
    if (chunk->index_max >= OMEN_CHUNK_INDEX_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "TOO_LARGE",
                                 "chunk has an item of index %u; the limit is %u", chunk->index_max,
                                 OMEN_CHUNK_INDEX_MAX - 1);
    return OMEN_OK;
}

/* Under the mutex. What is admitted is in the log and the graph, so that its bytes bound how far
 * searches are behind, not memory: of these there may be more the larger epochs are. The backlog is
 * the collection's: one stream alone may not fill it. */
static bool has_room(const omen_stream *stream)
{
    omen_collection *c = stream->collection;
    const uint64_t backlog = omen_epoch_grown(
        OMEN_BACKLOG_BYTES_MAX, atomic_load_explicit(&c->published.points, memory_order_relaxed));

    return stream->queued_bytes < OMEN_STREAM_BYTES_MAX && stream->pending_bytes < backlog / 2 &&
           stream->errors_untaken < ERRORS_UNTAKEN_MAX &&
           atomic_load_explicit(&c->backlog_bytes, memory_order_relaxed) < backlog;
}

/* methods_insert.c - VectorService.Insert: one client's stream of chunks into the engine.
 *
 * Messages arrive on the poller, which decodes them and pushes chunks; what becomes of the chunks
 * comes as events on engine threads. Both end in pump(), which looks at the state under the
 * stream's lock and starts whatever may be started: the next read, an answer, the end.
 *
 * Happy path: Open -> omen_stream_open -> Opened -> chunks and Acks -> half-close -> everything
 * pushed is searchable -> last Ack and OK.
 *
 * - Back-pressure is the read that is not posted while the engine has no room.
 * - Acks are cumulative and at most one is on its way, so a client that never reads costs the
 *   server one Ack, and holds up nobody but itself.
 * - Item errors stay in the engine until there is an Ack to carry them, so many in each.
 *
 * Failure modes: a bad message, a dead stream or draining set `fault`; the status goes out when no
 * Ack is in flight. A client that goes away is noticed by `closed`, which always comes, on the
 * poller, as the last event, and only there is the engine's stream closed: no engine thread can be
 * in pump() after that.
 */
#include "service/methods.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "service/decode.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/reply.h"
#include "service/service.h"

#define ACK_ERRORS_MAX 256u /* item errors of one Ack: about 40 KiB */

struct insert {
    /* Fixed at start. */
    omen_call *call;
    struct omen_inserts *all;

    /* Under all->lock. */
    struct insert *previous;
    struct insert *next;

    /* The poller's, fixed once the stream is open. */
    omen_collection *collection;
    struct omen_insert_open open;
    struct omen_collection_info info;

    /* Under `lock`: pump() on the poller and on engine threads. */
    pthread_mutex_t lock;
    omen_stream *stream; /* NULL until Open */
    bool reading;        /* a read is posted, or its message is being worked on */
    bool writing;
    bool ended; /* the status is on its way */
    bool opened_sent;
    bool half_closed;
    bool ack_wanted; /* a Flush, or more item errors than one Ack holds */
    bool draining;
    uint64_t durable_told; /* by the last Ack */
    uint64_t searchable_told;
    struct omen_fault fault;
};

struct omen_inserts {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct insert *first;
    bool draining;
};

static void take_message(struct insert *insert, const omen_message *message);
static void open_stream(struct insert *insert, const struct omen_insert_open *open);
static void pump(struct insert *insert);
static void pump_locked(struct insert *insert);
static void write_ack(struct insert *insert, const struct omen_stream_state *state);
static void write_answer(struct insert *insert, struct omen_payload payload);
static void end(struct insert *insert, const struct omen_fault *fault);
static void fail(struct insert *insert, const struct omen_fault *fault);
static void on_engine_event(void *user);

static struct omen_metrics *metrics_of(const struct insert *insert)
{
    return omen_service_metrics(omen_call_context(insert->call));
}

/* ---- events of the call, on the poller ---------------------------------------------------- */

static void start(omen_call *call, omen_message *request)
{
    struct omen_inserts *all = omen_service_inserts(omen_call_context(call));
    struct insert *insert = calloc(1, sizeof *insert);
    struct omen_fault fault = {0};
    bool refused = false;

    (void)request;
    if (insert == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the stream");
        omen_reply_fault(call, &fault);
        return;
    }
    insert->call = call;
    insert->all = all;
    (void)pthread_mutex_init(&insert->lock, NULL);
    omen_call_set_user(call, insert);

    (void)pthread_mutex_lock(&all->lock);
    refused = all->draining;
    insert->next = all->first;
    if (all->first != NULL) all->first->previous = insert;
    all->first = insert;
    (void)pthread_mutex_unlock(&all->lock);

    if (refused)
        (void)omen_fault_draining(&fault);
    else
        (void)omen_service_engine(omen_call_context(call), &fault); /* or the fault LOADING */
    if (fault.code != OMEN_OK) {
        fail(insert, &fault);
        return;
    }
    (void)pthread_mutex_lock(&insert->lock);
    insert->reading = !insert->ended; /* draining may have begun, and ended it */
    if (insert->reading) omen_call_read(call);
    (void)pthread_mutex_unlock(&insert->lock);
}

static void message_came(omen_call *call, omen_message *message)
{
    struct insert *insert = omen_call_user(call);
    bool wanted = false;

    (void)pthread_mutex_lock(&insert->lock);
    wanted =
        message != NULL && !insert->ended && !insert->draining && insert->fault.code == OMEN_OK;
    (void)pthread_mutex_unlock(&insert->lock);
    if (wanted) take_message(insert, message);
    omen_message_destroy(message);

    (void)pthread_mutex_lock(&insert->lock);
    insert->reading = false;
    if (message == NULL) {
        insert->half_closed = true;
        if (insert->stream == NULL && insert->fault.code == OMEN_OK)
            (void)omen_fault_set(&insert->fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                                 "the stream ended before its first message, which must be open");
    }
    pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

static void written(omen_call *call, bool delivered)
{
    struct insert *insert = omen_call_user(call);

    (void)pthread_mutex_lock(&insert->lock);
    insert->writing = false;
    if (!delivered) insert->ended = true; /* the client is gone: `closed` follows */
    pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

static void closed(omen_call *call)
{
    struct insert *insert = omen_call_user(call);

    if (insert == NULL) return;
    struct omen_inserts *all = insert->all;

    (void)pthread_mutex_lock(&insert->lock);
    insert->ended = true;
    (void)pthread_mutex_unlock(&insert->lock);
    if (insert->stream != NULL) omen_metrics_close_stream(metrics_of(insert));
    omen_stream_close(insert->stream); /* without the lock: an event may be waiting for it */
    omen_collection_release(insert->collection);

    (void)pthread_mutex_lock(&all->lock);
    if (insert->next != NULL) insert->next->previous = insert->previous;
    if (insert->previous != NULL)
        insert->previous->next = insert->next;
    else
        all->first = insert->next;
    (void)pthread_cond_broadcast(&all->changed);
    (void)pthread_mutex_unlock(&all->lock);
    (void)pthread_mutex_destroy(&insert->lock);
    free(insert);
}

const struct omen_method omen_method_insert = {.path = "/omendb.v1.VectorService/Insert",
                                               .stream = true,
                                               .start = start,
                                               .message = message_came,
                                               .written = written,
                                               .closed = closed};

/* ---- one message -------------------------------------------------------------------------- */

/* Decodes and pushes without the lock: only the poller sets insert->stream, and only it pushes. */
static void take_message(struct insert *insert, const omen_message *message)
{
    struct omen_insert_target target = {insert->stream, insert->info.settings.dim};
    struct omen_insert_request request;
    struct omen_fault fault = {0};

    (void)omen_decode_insert(message, &target, &request, &fault);
    if (fault.code != OMEN_OK) {
        fail(insert, &fault);
        return;
    }
    switch (request.kind) {
    case OMEN_INSERT_OPEN:
        open_stream(insert, &request.open);
        return;
    case OMEN_INSERT_CHUNK:
        fault.code = omen_stream_push(insert->stream, request.seq, request.chunk, &fault.error);
        if (fault.code != OMEN_OK)
            fail(insert, &fault);
        else
            omen_metrics_count_chunk(metrics_of(insert), request.points);
        return;
    case OMEN_INSERT_FLUSH:
        if (insert->stream == NULL) {
            (void)omen_fault_set(&fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                                 "the first message of a stream must be open, this one is flush");
            fail(insert, &fault);
            return;
        }
        (void)pthread_mutex_lock(&insert->lock);
        insert->ack_wanted = true;
        (void)pthread_mutex_unlock(&insert->lock);
        return;
    }
}

static void open_stream(struct insert *insert, const struct omen_insert_open *open)
{
    struct omen_stream_options options = {
        .mode = open->mode, .event = on_engine_event, .event_user = insert};
    struct omen_fault fault = {0};
    omen_stream *stream = NULL;

    if (insert->stream != NULL) {
        (void)omen_fault_set(&fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "open",
                             "open came a second time: a stream has one, as its first message");
        fail(insert, &fault);
        return;
    }
    omen_engine *engine = omen_service_engine(omen_call_context(insert->call), &fault);
    insert->open = *open;
    memcpy(options.session_id, open->session_id, sizeof options.session_id);
    if (engine != NULL)
        fault.code =
            omen_collection_acquire(engine, open->collection, &insert->collection, &fault.error);
    if (fault.code == OMEN_OK) {
        omen_collection_get_info(insert->collection, &insert->info);
        fault.code = omen_stream_open(insert->collection, &options, &stream, &fault.error);
    }
    if (fault.code != OMEN_OK) {
        fail(insert, &fault);
        return;
    }
    (void)pthread_mutex_lock(&insert->lock);
    insert->stream = stream;
    (void)pthread_mutex_unlock(&insert->lock);
    omen_metrics_open_stream(metrics_of(insert));
}

/* ---- what happens next -------------------------------------------------------------------- */

static void on_engine_event(void *user)
{
    pump(user);
}

static void pump(struct insert *insert)
{
    (void)pthread_mutex_lock(&insert->lock);
    pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

static bool is_news(const struct insert *insert, const struct omen_stream_state *state)
{
    return insert->ack_wanted || state->durable_seq != insert->durable_told ||
           state->searchable_seq != insert->searchable_told;
}

static void pump_locked(struct insert *insert)
{
    struct omen_stream_state state;

    if (insert->ended) return;
    if (insert->stream == NULL) {
        if (insert->draining && insert->fault.code == OMEN_OK)
            (void)omen_fault_set(&insert->fault, OMEN_UNAVAILABLE, "DRAINING", NULL,
                                 "the server shuts down: open the stream again at another");
        if (insert->fault.code != OMEN_OK) end(insert, &insert->fault);
        return;
    }
    omen_stream_poll(insert->stream, &state);
    if (state.code != OMEN_OK && insert->fault.code == OMEN_OK) {
        insert->fault.code = state.code;
        insert->fault.error = state.error;
    }
    if (insert->fault.code != OMEN_OK) {
        if (!insert->writing) end(insert, &insert->fault);
        return;
    }
    if (!state.opened) return;
    if (!insert->opened_sent) {
        struct omen_opened opened = {state, insert->info};

        insert->opened_sent = true;
        insert->durable_told = state.durable_seq;
        insert->searchable_told = state.searchable_seq;
        write_answer(insert, omen_reply_opened(&opened));
    }
    if (!insert->writing && !insert->ended) write_ack(insert, &state);
    if (!insert->ended && !insert->reading && state.room && !insert->half_closed &&
        !insert->draining) {
        insert->reading = true;
        omen_call_read(insert->call);
    }
}

/* An Ack of all that is known, if there is news; the last one if nothing more will come and all
 * that came is searchable. */
static void write_ack(struct insert *insert, const struct omen_stream_state *state)
{
    struct omen_item_error errors[ACK_ERRORS_MAX];
    bool last =
        (insert->half_closed || insert->draining) && state->searchable_seq >= state->received_seq;

    if (!last && !is_news(insert, state)) return;
    struct omen_ack ack = {
        .received_seq = state->received_seq,
        .durable_seq = state->durable_seq,
        .searchable_seq = state->searchable_seq,
        .log_position = state->log_position,
        .errors = errors,
        .dim = insert->info.settings.dim,
    };
    ack.error_count =
        omen_stream_take_errors(insert->stream, errors, ACK_ERRORS_MAX, &ack.errors_complete_seq);
    omen_metrics_count_item_errors(metrics_of(insert), ack.error_count);
    insert->ack_wanted = ack.error_count == ACK_ERRORS_MAX;
    insert->durable_told = ack.durable_seq;
    insert->searchable_told = ack.searchable_seq;
    last = last && !insert->ack_wanted;
    if (last && insert->half_closed) {
        insert->ended = true;
        omen_reply_payload(insert->call, omen_reply_ack(&ack));
        return;
    }
    if (last)
        (void)omen_fault_set(&insert->fault, OMEN_UNAVAILABLE, "DRAINING", NULL,
                             "the server shuts down: resume the session at another from chunk "
                             "%" PRIu64,
                             state->received_seq + 1);
    write_answer(insert, omen_reply_ack(&ack));
}

static void write_answer(struct insert *insert, struct omen_payload payload)
{
    struct omen_fault fault;

    if (payload.data != NULL) {
        insert->writing = true;
        omen_call_write(insert->call, payload);
        return;
    }
    (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                         "no memory for an answer");
    end(insert, &fault);
}

/* Sends the status, without the last word of an Ack. */
static void end(struct insert *insert, const struct omen_fault *fault)
{
    insert->ended = true;
    omen_reply_fault(insert->call, fault);
}

/* Lets pump() end the stream; the first fault counts. */
static void fail(struct insert *insert, const struct omen_fault *fault)
{
    struct omen_logline line;

    omen_logline_init(&line, OMEN_EVENT_INFO, "insert stream refused");
    omen_logline_add(&line, "client", "%s", insert->open.client_name);
    omen_logline_add(&line, "collection", "%s", insert->open.collection);
    omen_logline_add(&line, "reason", "%s", omen_fault_reason(fault));
    omen_logline_add(&line, "error", "%s", fault->error.message);
    omen_logline_write(&line);
    (void)pthread_mutex_lock(&insert->lock);
    if (insert->fault.code == OMEN_OK) insert->fault = *fault;
    pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

/* ---- all streams -------------------------------------------------------------------------- */

struct omen_inserts *omen_inserts_create(void)
{
    struct omen_inserts *inserts = calloc(1, sizeof *inserts);

    if (inserts == NULL) return NULL;
    (void)pthread_mutex_init(&inserts->lock, NULL);
    (void)pthread_cond_init(&inserts->changed, NULL);
    return inserts;
}

void omen_inserts_destroy(struct omen_inserts *inserts)
{
    if (inserts == NULL) return;
    (void)pthread_cond_destroy(&inserts->changed);
    (void)pthread_mutex_destroy(&inserts->lock);
    free(inserts);
}

void omen_inserts_drain(struct omen_inserts *inserts, uint32_t milliseconds)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_mutex_lock(&inserts->lock);
    inserts->draining = true;
    for (struct insert *insert = inserts->first; insert != NULL; insert = insert->next) {
        (void)pthread_mutex_lock(&insert->lock);
        insert->draining = true;
        pump_locked(insert);
        (void)pthread_mutex_unlock(&insert->lock);
    }
    while (inserts->first != NULL &&
           pthread_cond_timedwait(&inserts->changed, &inserts->lock, &until) == 0)
        continue;
    (void)pthread_mutex_unlock(&inserts->lock);
}

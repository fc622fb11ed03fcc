/* methods_insert.c - VectorService.Insert: one client's stream of chunks into the engine.
 *
 * Messages arrive on the poller, which decodes them and pushes chunks; what becomes of the chunks
 * comes as events on engine threads. Both end in insert_stream.c's pump, which looks at the state
 * under the stream's lock and starts whatever may be started: the next read, an answer, the end.
 *
 * Happy path: Open -> omen_stream_open -> Opened -> chunks and Acks -> half-close -> everything
 * pushed is searchable -> last Ack and OK.
 *
 * Failure modes: a bad message or a dead stream set `fault`; the status goes out when no Ack is in
 * flight. A client that goes away is noticed by `closed`, which always comes, on the poller, as the
 * last event, and only there is the engine's stream closed: no engine thread can be in the pump
 * after that.
 */
#include "service/methods.h"

#include <stdlib.h>
#include <string.h>

#include "service/clock.h"
#include "service/insert_stream.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/service.h"

static void take_message(struct omen_insert_stream *insert, const omen_message *message);
static void open_stream(struct omen_insert_stream *insert, const struct omen_insert_open *open);
static void fail(struct omen_insert_stream *insert, const struct omen_fault *fault);

/* ---- events of the call, on the poller ---------------------------------------------------- */

static void start(omen_call *call, omen_message *request)
{
    omen_service *service = omen_call_context(call);
    struct omen_insert_stream *insert = calloc(1, sizeof *insert);
    struct omen_fault fault = {0};

    (void)request;
    if (insert == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the stream");
        omen_reply_fault(call, &fault);
        return;
    }
    insert->entry.nudge = omen_insert_stream_nudge;
    insert->call = call;
    insert->all = omen_service_inserts(service);
    insert->metrics = omen_service_metrics(service);
    insert->started_ns = omen_clock_ns();
    (void)pthread_mutex_init(&insert->lock, NULL);
    omen_call_set_user(call, insert);
    if (!omen_inserts_join(insert->all, &insert->entry))
        (void)omen_fault_draining(&fault);
    else
        (void)omen_service_engine(service, &fault); /* or the fault LOADING */
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
    struct omen_insert_stream *insert = omen_call_user(call);
    bool wanted = false;

    (void)pthread_mutex_lock(&insert->lock);
    wanted =
        message != NULL && !insert->ended && insert->draining == 0 && insert->fault.code == OMEN_OK;
    insert->working = wanted;
    (void)pthread_mutex_unlock(&insert->lock);
    if (wanted) take_message(insert, message);
    omen_message_destroy(message);

    (void)pthread_mutex_lock(&insert->lock);
    insert->reading = insert->working = false;
    if (message == NULL) {
        insert->half_closed = true;
        if (insert->stream == NULL && insert->fault.code == OMEN_OK)
            (void)omen_fault_set(&insert->fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                                 "the stream ended before its first message, which must be open");
    }
    omen_insert_stream_pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

static void written(omen_call *call, bool delivered)
{
    struct omen_insert_stream *insert = omen_call_user(call);

    (void)pthread_mutex_lock(&insert->lock);
    insert->writing = false;
    if (!delivered) insert->ended = true; /* the client is gone: `closed` follows */
    omen_insert_stream_pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

static void closed(omen_call *call)
{
    struct omen_insert_stream *insert = omen_call_user(call);

    if (insert == NULL) return;
    (void)pthread_mutex_lock(&insert->lock);
    insert->ended = true;
    (void)pthread_mutex_unlock(&insert->lock);
    if (insert->stream != NULL) omen_metrics_close_stream(insert->metrics);
    omen_stream_close(insert->stream); /* without the lock: an event may be waiting for it */
    omen_collection_release(insert->collection);
    omen_inserts_leave(insert->all, &insert->entry);
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
static void take_message(struct omen_insert_stream *insert, const omen_message *message)
{
    struct omen_points_target target = {insert->stream, insert->info.settings.dim};
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
            omen_metrics_count_chunk(insert->metrics, request.points, request.deletes);
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

static void on_engine_event(void *user)
{
    omen_insert_stream_pump(user);
}

static omen_code check_incarnation(const struct omen_insert_stream *insert,
                                   const struct omen_insert_open *open, struct omen_fault *fault)
{
    if (open->has_incarnation &&
        memcmp(open->incarnation, insert->info.incarnation, OMEN_INCARNATION_BYTES) != 0)
        return omen_fault_incarnation(fault, "open.incarnation", open->collection);
    return OMEN_OK;
}

static void open_stream(struct omen_insert_stream *insert, const struct omen_insert_open *open)
{
    struct omen_stream_options options = {.mode = open->mode,
                                          .errors_seen_seq = open->errors_seen_seq,
                                          .event = on_engine_event,
                                          .event_user = insert};
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
        (void)check_incarnation(insert, open, &fault);
    }
    if (fault.code == OMEN_OK)
        fault.code = omen_stream_open(insert->collection, &options, &stream, &fault.error);
    if (fault.code != OMEN_OK) {
        fail(insert, &fault);
        return;
    }
    (void)pthread_mutex_lock(&insert->lock);
    insert->stream = stream;
    (void)pthread_mutex_unlock(&insert->lock);
    omen_metrics_open_stream(insert->metrics);
}

/* Lets the pump end the stream; the first fault counts. */
static void fail(struct omen_insert_stream *insert, const struct omen_fault *fault)
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
    omen_insert_stream_pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

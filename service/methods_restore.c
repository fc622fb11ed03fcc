/* methods_restore.c - SnapshotService.RestoreSnapshot: a collection of the bytes that a client
 * sends, or of a snapshot that is here already.
 *
 * Each message is taken by a worker, and the next one is read when it is on the disk: not reading
 * is the back-pressure. The end of the client's stream is the word that all bytes are there; a
 * connection that breaks is none, and leaves nothing.
 */
#include "service/methods.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "service/budget.h"
#include "service/reply.h"
#include "service/service.h"
#include "service/snapshots.h"
#include "service/workers.h"

/* A message, and its bytes once more while they are decoded. */
#define BUDGET_BYTES (2ull * OMEN_SNAPSHOT_CHUNK_BYTES)

struct restoring {
    /* Fixed at start. */
    omen_call *call;
    omen_service *service;
    bool budgeted;

    /* Whoever is at work. */
    omen_message *message; /* to be taken; NULL: the client has sent everything */
    bool begun;
    char collection[OMEN_REQUEST_NAME_BYTES];
    char snapshot[OMEN_REQUEST_NAME_BYTES];
    omen_restore *restore; /* NULL: of a snapshot that is here */

    /* Under `lock`. */
    pthread_mutex_t lock;
    bool working;
    bool closed;
};

static void work(void *user);

static void destroy(struct restoring *r)
{
    omen_restore_cancel(r->restore);
    omen_message_destroy(r->message);
    if (r->budgeted) omen_budget_give(omen_service_requests(r->service), BUDGET_BYTES);
    omen_workers_leave(omen_service_snapshot_workers(r->service));
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Under the lock, by who was admitted: there is room. */
static void go_on(struct restoring *r)
{
    r->working = true;
    (void)omen_workers_submit(omen_service_snapshot_workers(r->service), work, r);
}

static omen_code begin(struct restoring *r, omen_engine *engine,
                       const struct omen_restore_request *request, struct omen_fault *fault)
{
    if (r->begun)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "begin",
                              "begin came a second time: a stream has one, as its first message");
    r->begun = true;
    memcpy(r->collection, request->collection, sizeof r->collection);
    memcpy(r->snapshot, request->snapshot, sizeof r->snapshot);
    if (r->snapshot[0] != '\0') return OMEN_OK;
    return omen_restore_begin(engine, r->collection, &r->restore, &fault->error);
}

static omen_code take_chunk(struct restoring *r, const struct omen_restore_request *request,
                            struct omen_fault *fault)
{
    if (!r->begun)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                              "the first message of a stream must be begin, this one is chunk");
    if (r->restore == NULL)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                              "begin named a snapshot of this server, and no chunk may follow");
    if (request->offset != omen_restore_bytes(r->restore))
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_OFFSET", "chunk.offset",
                              "chunk.offset is %" PRIu64 ", the next byte is at %" PRIu64,
                              request->offset, omen_restore_bytes(r->restore));
    return omen_restore_write(r->restore, request->data, request->bytes, &fault->error);
}

static omen_code take(struct restoring *r, omen_engine *engine, struct omen_fault *fault)
{
    struct omen_restore_request request;

    if (omen_decode_restore(r->message, &request, fault) != OMEN_OK) return fault->code;
    fault->code =
        request.begin ? begin(r, engine, &request, fault) : take_chunk(r, &request, fault);
    free(request.data);
    return fault->code;
}

static omen_code finish(struct restoring *r, omen_engine *engine, struct omen_payload *payload,
                        struct omen_fault *fault)
{
    struct omen_collection_info info;
    omen_restore *restore = r->restore;

    if (!r->begun)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                              "the stream ended before its first message, which must be begin");
    r->restore = NULL;
    fault->code = restore != NULL ? omen_restore_end(restore, &info, &fault->error)
                                  : omen_snapshot_restore(engine, r->snapshot, r->collection, &info,
                                                          &fault->error);
    if (fault->code != OMEN_OK) return fault->code;
    /* A RestoreSnapshotResponse has the field of a CreateCollectionResponse. */
    *payload = omen_reply_collections(OMEN_REPLY_CREATE, &info, 1, "");
    return OMEN_OK;
}

/* On a worker: takes a message and asks for the next, or makes the collection and answers. */
static void work(void *user)
{
    struct restoring *r = user;
    struct omen_payload payload = {0};
    struct omen_fault fault = {0};
    const bool last = r->message == NULL;

    (void)pthread_mutex_lock(&r->lock);
    const bool closed = r->closed;
    (void)pthread_mutex_unlock(&r->lock);
    if (closed) {
        destroy(r);
        return;
    }
    omen_engine *engine = omen_service_engine(r->service, &fault);
    if (engine != NULL && omen_service_phase_now(r->service) == OMEN_PHASE_DRAINING)
        (void)omen_fault_draining(&fault);
    else if (engine != NULL)
        (void)(last ? finish(r, engine, &payload, &fault) : take(r, engine, &fault));
    omen_message_destroy(r->message);
    r->message = NULL;

    (void)pthread_mutex_lock(&r->lock);
    r->working = false;
    const bool gone = r->closed;
    if (gone)
        free(payload.data);
    else if (fault.code != OMEN_OK)
        omen_reply_fault(r->call, &fault);
    else if (last)
        omen_reply_payload(r->call, payload);
    else
        omen_call_read(r->call);
    (void)pthread_mutex_unlock(&r->lock);
    if (gone) destroy(r);
}

/* ---- the listener's events ---------------------------------------------------------------- */

static struct restoring *make(omen_call *call, struct omen_fault *fault)
{
    omen_service *service = omen_call_context(call);
    struct omen_workers *workers = omen_service_snapshot_workers(service);
    struct restoring *r = NULL;

    if (!omen_workers_admit(workers)) {
        (void)omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "RATE", NULL,
                             "%u downloads and restores are under way, which is the limit: try "
                             "again later",
                             OMEN_WORKERS_QUEUE_MAX);
        return NULL;
    }
    r = calloc(1, sizeof *r);
    if (r == NULL) {
        omen_workers_leave(workers);
        (void)omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the call");
        return NULL;
    }
    r->call = call;
    r->service = service;
    (void)pthread_mutex_init(&r->lock, NULL);
    r->budgeted = omen_budget_take(omen_service_requests(service), BUDGET_BYTES, fault) == OMEN_OK;
    if (r->budgeted) return r;
    destroy(r);
    return NULL;
}

static void start(omen_call *call, omen_message *request)
{
    struct omen_fault fault = {0};
    struct restoring *r = make(call, &fault);

    (void)request;
    if (r == NULL) {
        omen_reply_fault(call, &fault);
        return;
    }
    omen_call_set_user(call, r);
    omen_call_read(call);
}

static void message_came(omen_call *call, omen_message *message)
{
    struct restoring *r = omen_call_user(call);

    (void)pthread_mutex_lock(&r->lock);
    r->message = message;
    go_on(r);
    (void)pthread_mutex_unlock(&r->lock);
}

static void written(omen_call *call, bool delivered)
{
    (void)call; /* the only answer is the last message */
    (void)delivered;
}

static void closed(omen_call *call)
{
    struct restoring *r = omen_call_user(call);

    if (r == NULL) return;
    (void)pthread_mutex_lock(&r->lock);
    r->closed = true;
    if (!r->working) go_on(r); /* it finds `closed`, and ends there */
    (void)pthread_mutex_unlock(&r->lock);
}

const struct omen_method omen_method_restore_snapshot = {
    .path = "/omendb.v1.SnapshotService/RestoreSnapshot",
    .stream = true,
    .start = start,
    .message = message_came,
    .written = written,
    .closed = closed};

/* methods_download.c - SnapshotService.DownloadSnapshot: one snapshot, piece by piece.
 *
 * At any time either a worker reads the next piece or the listener writes one, never both: a client
 * that does not read costs one piece of memory, and nothing is read ahead of it. Only `closed` may
 * come at any moment: it marks the state, and whoever is at work ends it; if nobody is, a worker
 * does, because closing a file may block.
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

struct download {
    /* Fixed at start. */
    omen_call *call;
    omen_service *service;
    bool budgeted;

    /* Whoever is at work. */
    omen_message *request; /* until it was decoded */
    omen_snapshot_source *source;
    uint64_t offset; /* of the next piece */
    uint8_t *piece;

    /* Under `lock`. */
    pthread_mutex_t lock;
    bool working; /* a job is queued or runs */
    bool ended;   /* the status is on its way, or nobody is there to read it */
    bool closed;
};

static void work(void *user);

static void destroy(struct download *download)
{
    omen_snapshot_source_close(download->source);
    omen_message_destroy(download->request);
    if (download->budgeted)
        omen_budget_give(omen_service_requests(download->service), OMEN_SNAPSHOT_SENT_BYTES * 2);
    omen_workers_leave(omen_service_snapshot_workers(download->service));
    (void)pthread_mutex_destroy(&download->lock);
    free(download->piece);
    free(download);
}

/* Under the lock, by who was admitted: there is room. */
static void go_on(struct download *download)
{
    download->working = true;
    (void)omen_workers_submit(omen_service_snapshot_workers(download->service), work, download);
}

static omen_code open_source(struct download *download, struct omen_payload *payload,
                             struct omen_fault *fault)
{
    omen_engine *engine = omen_service_engine(download->service, fault);
    struct omen_download_request wanted;
    struct omen_snapshot_info info;

    if (engine == NULL) return fault->code;
    if (omen_decode_download(download->request, &wanted, fault) != OMEN_OK) return fault->code;
    fault->code =
        omen_snapshot_source_open(engine, wanted.name, &download->source, &info, &fault->error);
    if (fault->code != OMEN_OK) return fault->code;
    if (wanted.has_id && memcmp(wanted.id, info.id, sizeof info.id) != 0)
        return omen_fault_set(fault, OMEN_FAILED_PRECONDITION, "SNAPSHOT_CHANGED", "id",
                              "snapshot '%s' was deleted and made again: begin anew", wanted.name);
    if (wanted.offset > info.bytes)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_OFFSET", "offset",
                              "offset is %" PRIu64 ", the snapshot has %" PRIu64 " bytes",
                              wanted.offset, info.bytes);
    download->offset = wanted.offset;
    *payload = omen_reply_snapshot(&info);
    return OMEN_OK;
}

/* The next piece; none at the end. */
static omen_code read_piece(struct download *download, struct omen_payload *payload, bool *end,
                            struct omen_fault *fault)
{
    size_t count = OMEN_SNAPSHOT_SENT_BYTES;

    fault->code = omen_snapshot_source_read(download->source, download->offset, download->piece,
                                            &count, &fault->error);
    if (fault->code != OMEN_OK) return fault->code;
    *end = count == 0;
    if (*end) return OMEN_OK;
    *payload = omen_reply_snapshot_chunk(download->offset, download->piece, count);
    download->offset += count;
    return OMEN_OK;
}

/* On a worker: makes the next message and sends it, or ends. */
static void work(void *user)
{
    struct download *download = user;
    struct omen_payload payload = {0};
    struct omen_fault fault = {0};
    bool end = false;

    (void)pthread_mutex_lock(&download->lock);
    const bool closed = download->closed;
    (void)pthread_mutex_unlock(&download->lock);
    if (closed) {
        destroy(download);
        return;
    }
    if (omen_service_phase_now(download->service) == OMEN_PHASE_DRAINING)
        (void)omen_fault_draining(&fault);
    else if (download->source == NULL)
        (void)open_source(download, &payload, &fault);
    else
        (void)read_piece(download, &payload, &end, &fault);
    if (fault.code == OMEN_OK && !end && payload.data == NULL)
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the answer");

    (void)pthread_mutex_lock(&download->lock);
    download->working = false;
    const bool gone = download->closed;
    if (gone) {
        free(payload.data);
    } else if (fault.code != OMEN_OK || end) {
        download->ended = true;
        if (end)
            omen_call_finish(download->call, OMEN_OK, "", (struct omen_payload){0});
        else
            omen_reply_fault(download->call, &fault);
    } else {
        omen_call_write(download->call, payload);
    }
    (void)pthread_mutex_unlock(&download->lock);
    if (gone) destroy(download);
}

/* ---- the listener's events ---------------------------------------------------------------- */

static struct download *make(omen_call *call, struct omen_fault *fault)
{
    omen_service *service = omen_call_context(call);
    struct omen_workers *workers = omen_service_snapshot_workers(service);
    struct download *download = NULL;

    if (!omen_workers_admit(workers)) {
        (void)omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "RATE", NULL,
                             "%u downloads and restores are under way, which is the limit: try "
                             "again later",
                             OMEN_WORKERS_QUEUE_MAX);
        return NULL;
    }
    download = calloc(1, sizeof *download);
    if (download == NULL) {
        omen_workers_leave(workers);
        (void)omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the call");
        return NULL;
    }
    download->call = call;
    download->service = service;
    (void)pthread_mutex_init(&download->lock, NULL);
    /* Twice: once read, once encoded. */
    download->budgeted = omen_budget_take(omen_service_requests(service),
                                          OMEN_SNAPSHOT_SENT_BYTES * 2, fault) == OMEN_OK;
    download->piece = download->budgeted ? malloc(OMEN_SNAPSHOT_SENT_BYTES) : NULL;
    if (download->budgeted && download->piece == NULL)
        (void)omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the call");
    if (fault->code == OMEN_OK) return download;
    destroy(download);
    return NULL;
}

static void start(omen_call *call, omen_message *request)
{
    struct omen_fault fault = {0};
    struct download *download = make(call, &fault);

    (void)request;
    if (download == NULL) {
        omen_reply_fault(call, &fault);
        return;
    }
    omen_call_set_user(call, download);
    omen_call_read(call);
}

static void message_came(omen_call *call, omen_message *message)
{
    struct download *download = omen_call_user(call);
    struct omen_fault fault = {0};

    (void)pthread_mutex_lock(&download->lock);
    if (message == NULL) {
        (void)omen_fault_set(&fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the call ended before its request");
        download->ended = true;
        omen_reply_fault(call, &fault);
    } else {
        download->request = message;
        go_on(download);
    }
    (void)pthread_mutex_unlock(&download->lock);
}

static void written(omen_call *call, bool delivered)
{
    struct download *download = omen_call_user(call);

    (void)pthread_mutex_lock(&download->lock);
    if (delivered && !download->ended) go_on(download); /* else `closed` follows */
    (void)pthread_mutex_unlock(&download->lock);
}

static void closed(omen_call *call)
{
    struct download *download = omen_call_user(call);

    if (download == NULL) return;
    (void)pthread_mutex_lock(&download->lock);
    download->closed = true;
    if (!download->working) go_on(download); /* it finds `closed`, and ends there */
    (void)pthread_mutex_unlock(&download->lock);
}

const struct omen_method omen_method_download_snapshot = {
    .path = "/omendb.v1.SnapshotService/DownloadSnapshot",
    .stream = true,
    .start = start,
    .message = message_came,
    .written = written,
    .closed = closed};

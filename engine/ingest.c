/* ingest.c - see ingest.h: the log thread, the applier, and what lies between them.
 *
 * Happy path of a chunk: queued by the stream -> taken with all that is pending of its collection
 * (a group) -> appended -> one sync for the group -> admitted in order -> its epoch, once complete,
 * waits for the applier -> applied -> published -> the receipts tell the streams.
 *
 * When does an epoch end? By its size; else by a CLOSE record, which the log thread adds to a group
 * when no complete epoch waits and the applier has nothing to do, or when enough has gathered to be
 * worth it as the next (so that the applier never waits for a sync). Thus epochs grow with the
 * backlog, and a lone insert waits for nobody. This decides only where boundaries are written: what
 * the graph becomes, the written boundaries decide.
 *
 * No room on the disk (room.h): a group is looked at before anything of it is written, and the room
 * of its points' originals is had before, too, so that what is in the log can be admitted. What
 * finds no room is refused (its streams die with DISK_FULL; their sessions can be resumed), and
 * nothing of it is anywhere; the log thread looks again by itself.
 *
 * Failure: whatever else goes wrong between append and publish leaves log and memory at odds, so
 * the collection takes no more writes (its streams die with the reason, searches go on) until a
 * restart replays the log.
 */
#include "engine/ingest.h"

#include <string.h>
#include <time.h>

#include "engine/checkpointer.h"
#include "engine/clock.h"
#include "engine/engine_state.h"
#include "engine/epoch.h"
#include "engine/fault_point.h"
#include "engine/memory.h"
#include "engine/search.h"
#include "engine/settings.h"
#include "engine/stream.h"

/* One group: what is appended before one sync. */
#define GROUP_BYTES_MAX (8u << 20)
/* An open epoch this large is closed although the applier is still busy with the one before. */
#define CLOSE_POINTS 1024u
/* The log's clock goes on at least so often, when something is written anyway: by it sessions are
 * forgotten. */
#define CLOCK_SECONDS 3600u

struct omen_ingest {
    omen_engine *engine;
    pthread_t log_thread, apply_thread;
    bool log_started, apply_started;

    pthread_mutex_t mutex;
    pthread_cond_t log_wake, apply_wake, idle;
    pthread_cond_t settled; /* a SETTINGS record is through, or refused */
    /* All below, and the fields of collections that say so: under the mutex. */
    bool stop;
    bool told_full;                        /* the log thread's: that there is no room was told */
    uint32_t in_work;                      /* collections that a thread holds right now */
    omen_collection *log_first, *log_last; /* have pending or wait for a CLOSE */
    omen_collection *apply_first, *apply_last; /* have complete epochs */
    omen_collection *timer_first;              /* have points that expire */
};

struct group {
    struct omen_pending *first;
    bool writes;   /* somebody opens a stream or sends a chunk */
    bool settings; /* somebody changes some */
    bool refused;  /* the collection failed or was dropped: nothing is written */
    bool full;     /* there is no room for what is not written yet: */
    omen_error why;
    uint64_t bytes; /* of the records, and the points in them */
    uint64_t points;
    uint64_t queued; /* of the memory budget */
    bool squeezed;   /* it has refused points, and there are dead ones */
    bool boundary;   /* a CHECKPOINT comes, and nothing of a stream's */
    bool close;      /* a CLOSE record shall follow */
    bool file;       /* the CHECKPOINT shall become a file */
    uint32_t now_s;  /* EXPIRE's time */
    /* Of the log thread's own records; 0: none was written. */
    uint64_t expire_position, sweep_position, checkpoint_position, close_position;
    struct omen_epoch_list complete;
};

static void *log_main(void *arg);
static void *apply_main(void *arg);
static void list_log(struct omen_ingest *ingest, omen_collection *c);
static void list_apply(struct omen_ingest *ingest, omen_collection *c);
static bool close_due(const omen_collection *c);
static void take_group(omen_collection *c, struct group *group);
static bool take_boundary(omen_collection *c, struct group *group);
static void wait_for_work(struct omen_ingest *ingest);
static void set_timer(struct omen_ingest *ingest, omen_collection *c);
static void trim_log(omen_collection *c);
static omen_code write_group(omen_collection *c, struct group *group, uint64_t *first,
                             omen_error *err);
static omen_code make_room(omen_collection *c, struct group *group, omen_error *err);
static omen_code note_full(omen_collection *c, struct group *group, bool own, omen_code code,
                           const omen_error *err);
static void look_for_room(struct omen_ingest *ingest);
static omen_code append_clockwork(omen_collection *c, struct group *group, uint64_t *first,
                                  omen_error *err);
static omen_code append_group(omen_collection *c, struct group *group, uint64_t *first,
                              omen_error *err);
static omen_code admit_group(omen_collection *c, struct group *group, omen_error *err);
static void finish_group(struct omen_ingest *ingest, omen_collection *c, struct group *group);
static void tell_receipts(omen_collection *c, const struct omen_epoch *epoch);
static void notify_streams(omen_collection *c);
static void fail_collection(omen_collection *c, omen_code code, const omen_error *why);
static void kill_streams(omen_collection *c, omen_code code, const omen_error *why);
static omen_code enqueue(omen_collection *c, struct omen_pending *pending, omen_error *err);

omen_code omen_ingest_start(omen_engine *engine, struct omen_ingest **out, omen_error *err)
{
    struct omen_ingest *ingest = omen_alloc_zeroed(sizeof *ingest);

    *out = NULL;
    if (ingest == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the ingest queues");
    ingest->engine = engine;
    (void)pthread_mutex_init(&ingest->mutex, NULL);
    (void)pthread_cond_init(&ingest->log_wake, NULL);
    (void)pthread_cond_init(&ingest->apply_wake, NULL);
    (void)pthread_cond_init(&ingest->idle, NULL);
    (void)pthread_cond_init(&ingest->settled, NULL);
    for (uint32_t i = 0; i < engine->collection_count; i++)
        list_log(ingest, engine->collections[i]); /* their clocks may have work to do */
    *out = ingest; /* before the threads, which look for it in the engine */
    ingest->log_started = pthread_create(&ingest->log_thread, NULL, log_main, ingest) == 0;
    ingest->apply_started = pthread_create(&ingest->apply_thread, NULL, apply_main, ingest) == 0;
    if (!ingest->log_started || !ingest->apply_started) {
        omen_ingest_stop(ingest);
        *out = NULL;
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the log thread and the applier");
    }
    return OMEN_OK;
}

void omen_ingest_stop(struct omen_ingest *ingest)
{
    if (ingest == NULL) return;
    (void)pthread_mutex_lock(&ingest->mutex);
    while (ingest->log_started && ingest->apply_started &&
           (ingest->log_first != NULL || ingest->apply_first != NULL || ingest->in_work > 0))
        (void)pthread_cond_wait(&ingest->idle, &ingest->mutex);
    ingest->stop = true;
    (void)pthread_cond_broadcast(&ingest->log_wake);
    (void)pthread_cond_broadcast(&ingest->apply_wake);
    (void)pthread_mutex_unlock(&ingest->mutex);
    if (ingest->log_started) (void)pthread_join(ingest->log_thread, NULL);
    if (ingest->apply_started) (void)pthread_join(ingest->apply_thread, NULL);
    while (ingest->timer_first != NULL) {
        omen_collection *c = ingest->timer_first;

        ingest->timer_first = c->next_to_expire;
        omen_collection_release(c); /* the list's */
    }
    (void)pthread_cond_destroy(&ingest->settled);
    (void)pthread_cond_destroy(&ingest->idle);
    (void)pthread_cond_destroy(&ingest->apply_wake);
    (void)pthread_cond_destroy(&ingest->log_wake);
    (void)pthread_mutex_destroy(&ingest->mutex);
    omen_free(ingest);
}

static omen_code refuse_if_closed(const omen_collection *c, omen_error *err);

/* Under the mutex. */
static void list_stream(omen_collection *collection, omen_stream *stream)
{
    *omen_stream_next(stream) = collection->streams;
    collection->streams = stream;
}

omen_code omen_ingest_join(omen_collection *collection, omen_stream *stream, omen_error *err)
{
    struct omen_ingest *ingest = collection->engine->ingest;
    omen_code code;

    (void)pthread_mutex_lock(&ingest->mutex);
    code = refuse_if_closed(collection, err);
    if (code == OMEN_OK) list_stream(collection, stream);
    (void)pthread_mutex_unlock(&ingest->mutex);
    return code;
}

omen_code omen_ingest_open(omen_collection *collection, omen_stream *stream,
                           const uint8_t *session_id, uint64_t errors_seen_seq, omen_error *err)
{
    struct omen_ingest *ingest = collection->engine->ingest;
    struct omen_pending *pending = omen_alloc_zeroed(sizeof *pending);
    omen_code code;

    if (pending == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a stream");
    pending->kind = OMEN_PENDING_OPEN;
    pending->stream = stream;
    memcpy(pending->open.session_id, session_id, sizeof pending->open.session_id);
    pending->open.errors_seen_seq = errors_seen_seq;
    omen_stream_retain(stream);
    (void)pthread_mutex_lock(&ingest->mutex);
    code = enqueue(collection, pending, err);
    if (code == OMEN_OK) list_stream(collection, stream);
    (void)pthread_mutex_unlock(&ingest->mutex);
    if (code != OMEN_OK) {
        omen_stream_release(stream);
        omen_free(pending);
    }
    return code;
}

omen_code omen_ingest_chunk(omen_collection *collection, omen_stream *stream, omen_chunk *chunk,
                            uint64_t bytes, omen_error *err)
{
    struct omen_ingest *ingest = collection->engine->ingest;
    struct omen_pending *pending = omen_alloc_zeroed(sizeof *pending);
    omen_code code;

    if (pending == NULL) {
        omen_chunk_destroy(chunk);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a chunk's place in the queue");
    }
    *pending = (struct omen_pending){
        .kind = OMEN_PENDING_CHUNK, .stream = stream, .chunk = chunk, .bytes = bytes};
    pending->points = chunk->count;
    omen_stream_retain(stream);
    atomic_fetch_add_explicit(&collection->backlog_bytes, bytes, memory_order_relaxed);
    (void)pthread_mutex_lock(&ingest->mutex);
    code = enqueue(collection, pending, err);
    (void)pthread_mutex_unlock(&ingest->mutex);
    if (code != OMEN_OK) {
        atomic_fetch_sub_explicit(&collection->backlog_bytes, bytes, memory_order_relaxed);
        omen_stream_release(stream);
        omen_chunk_destroy(chunk);
        omen_free(pending);
    }
    return code;
}

void omen_ingest_closed(omen_collection *collection, omen_stream *stream, const uint8_t *session_id)
{
    struct omen_ingest *ingest = collection->engine->ingest;
    struct omen_pending *pending = omen_stream_closing(stream);
    omen_stream **at = &collection->streams;

    *pending = (struct omen_pending){.kind = OMEN_PENDING_CLOSED, .stream = stream};
    memcpy(pending->open.session_id, session_id, sizeof pending->open.session_id);
    omen_stream_retain(stream);
    (void)pthread_mutex_lock(&ingest->mutex);
    while (*at != NULL && *at != stream)
        at = omen_stream_next(*at);
    if (*at != NULL) *at = *omen_stream_next(stream);
    *omen_stream_next(stream) = stream; /* whoever stands on it sees that it left the list */
    if (collection->pending_last != NULL)
        collection->pending_last->next = pending;
    else
        collection->pending_first = pending;
    collection->pending_last = pending;
    list_log(ingest, collection);
    (void)pthread_mutex_unlock(&ingest->mutex);
}

omen_code omen_ingest_settings(omen_collection *collection, const void *payload, size_t bytes,
                               omen_error *err)
{
    struct omen_ingest *ingest = collection->engine->ingest;
    bool admitted = false;
    bool done = false;
    struct omen_pending pending = {.kind = OMEN_PENDING_SETTINGS,
                                   .payload = payload,
                                   .payload_bytes = bytes,
                                   .admitted = &admitted,
                                   .done = &done};
    omen_code code;

    (void)pthread_mutex_lock(&ingest->mutex);
    code = enqueue(collection, &pending, err);
    while (code == OMEN_OK && !done)
        (void)pthread_cond_wait(&ingest->settled, &ingest->mutex);
    if (code == OMEN_OK && !admitted) {
        code = refuse_if_closed(collection, err);
        if (code == OMEN_OK)
            code = omen_fail_because(err, OMEN_RESOURCE_EXHAUSTED, OMEN_REASON_DISK_FULL,
                                     "there was no room on the disk, and is again: try again");
    }
    (void)pthread_mutex_unlock(&ingest->mutex);
    return code;
}

void omen_ingest_drop(omen_collection *collection)
{
    struct omen_ingest *ingest = collection->engine->ingest;
    omen_error why;
    omen_code code = omen_fail_because(&why, OMEN_NOT_FOUND, "COLLECTION_NOT_FOUND",
                                       "collection '%s' was deleted", collection->name);

    atomic_store_explicit(&collection->gone, true, memory_order_relaxed);
    (void)pthread_mutex_lock(&ingest->mutex);
    collection->dropped = true;
    const bool failed = collection->failed;
    list_log(ingest, collection); /* the log thread lets go of what waits in the open epoch */
    (void)pthread_mutex_unlock(&ingest->mutex);
    omen_checkpointer_give_up(collection);
    kill_streams(collection, code, &why);
    if (failed) omen_engine_count_failed(collection->engine, NULL);
}

void omen_ingest_remind(omen_collection *collection)
{
    struct omen_ingest *ingest = collection->engine->ingest;

    (void)pthread_mutex_lock(&ingest->mutex);
    list_log(ingest, collection);
    (void)pthread_mutex_unlock(&ingest->mutex);
}

/* Under the mutex. */
static omen_code refuse_if_closed(const omen_collection *c, omen_error *err)
{
    if (c->dropped)
        return omen_fail_because(err, OMEN_NOT_FOUND, "COLLECTION_NOT_FOUND",
                                 "collection '%s' was deleted", c->name);
    if (c->failed)
        return omen_fail_because(err, OMEN_UNAVAILABLE, "READ_ONLY",
                                 "collection '%s' takes no writes until a restart: %.160s", c->name,
                                 c->failure.message);
    return omen_room_refusal(&c->engine->room, err);
}

omen_code omen_ingest_check(omen_collection *collection, omen_error *err)
{
    struct omen_ingest *ingest = collection->engine->ingest;
    omen_code code;

    (void)pthread_mutex_lock(&ingest->mutex);
    code = refuse_if_closed(collection, err);
    (void)pthread_mutex_unlock(&ingest->mutex);
    return code;
}

/* Under the mutex. */
static omen_code enqueue(omen_collection *c, struct omen_pending *pending, omen_error *err)
{
    omen_code code = refuse_if_closed(c, err);

    if (code == OMEN_OK) code = omen_memory_budget_queue(c, pending->points, err);
    if (c->memory_share.squeezed > 0) list_log(c->engine->ingest, c); /* dead points may go */
    if (code != OMEN_OK) return code;
    if (c->pending_last != NULL)
        c->pending_last->next = pending;
    else
        c->pending_first = pending;
    c->pending_last = pending;
    list_log(c->engine->ingest, c);
    return OMEN_OK;
}

static void list_log(struct omen_ingest *ingest, omen_collection *c)
{
    if (c->in_log_list) return;
    omen_collection_retain(c);
    c->in_log_list = true;
    c->next_to_log = NULL;
    if (ingest->log_last != NULL)
        ingest->log_last->next_to_log = c;
    else
        ingest->log_first = c;
    ingest->log_last = c;
    (void)pthread_cond_signal(&ingest->log_wake);
}

static void list_apply(struct omen_ingest *ingest, omen_collection *c)
{
    if (c->in_apply_list || c->applying) return;
    omen_collection_retain(c);
    c->in_apply_list = true;
    c->next_to_apply = NULL;
    if (ingest->apply_last != NULL)
        ingest->apply_last->next_to_apply = c;
    else
        ingest->apply_first = c;
    ingest->apply_last = c;
    (void)pthread_cond_signal(&ingest->apply_wake);
}

static bool close_due(const omen_collection *c)
{
    return c->open_dirty && c->complete_first == NULL && !c->failed && !c->dropped &&
           (!c->applying || c->open_points >= CLOSE_POINTS) &&
           omen_room_level(&c->engine->room) != OMEN_ROOM_FOR_NONE;
}

/* ---- the log thread ----------------------------------------------------------------------- */

static void *log_main(void *arg)
{
    struct omen_ingest *ingest = arg;

    (void)pthread_setname_np(pthread_self(), "omen-log");
    (void)pthread_mutex_lock(&ingest->mutex);
    for (;;) {
        omen_collection *c;
        struct group group;
        uint64_t first = 0;
        omen_error err;
        omen_code code;

        wait_for_work(ingest);
        c = ingest->log_first;
        if (c == NULL) break;
        ingest->log_first = c->next_to_log;
        if (ingest->log_first == NULL) ingest->log_last = NULL;
        c->in_log_list = false;
        ingest->in_work++;
        take_group(c, &group);
        (void)pthread_mutex_unlock(&ingest->mutex);

        (void)pthread_mutex_lock(&c->admit_mutex);
        if (!group.refused) trim_log(c);
        code = write_group(c, &group, &first, &err);
        const uint64_t begin = omen_now_ns();
        if (code == OMEN_OK) code = admit_group(c, &group, &err);
        (void)pthread_mutex_unlock(&c->admit_mutex);
        if (code != OMEN_OK) fail_collection(c, code, &err);
        if (first != 0) omen_checkpointer_worked(c, omen_now_ns() - begin);
        /* Who waits for an epoch that cannot be closed would wait for as long as there is no room.
         */
        if (group.full && omen_room_level(&ingest->engine->room) == OMEN_ROOM_FOR_NONE)
            kill_streams(c, OMEN_RESOURCE_EXHAUSTED, &group.why);
        finish_group(ingest, c, &group);

        (void)pthread_mutex_lock(&ingest->mutex);
        ingest->in_work--;
        (void)pthread_cond_broadcast(&ingest->idle);
    }
    (void)pthread_mutex_unlock(&ingest->mutex);
    return NULL;
}

/* Under the mutex: lists collections whose next point expires by now, unless not even that could be
 * written. Returns when the next one does; UINT32_MAX: none. */
static uint32_t list_expired(struct omen_ingest *ingest)
{
    const time_t now = time(NULL);
    uint32_t next_s = UINT32_MAX;

    if (omen_room_level(&ingest->engine->room) == OMEN_ROOM_FOR_NONE) return UINT32_MAX;
    for (omen_collection *c = ingest->timer_first; c != NULL; c = c->next_to_expire) {
        if ((time_t)c->next_expiry_s <= now && !c->failed && !c->dropped) list_log(ingest, c);
        if ((time_t)c->next_expiry_s > now && c->next_expiry_s < next_s) next_s = c->next_expiry_s;
    }
    return next_s;
}

static struct timespec time_in(uint64_t ns)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_REALTIME, &at);
    ns += (uint64_t)at.tv_nsec;
    at.tv_sec += (time_t)(ns / 1000000000u);
    at.tv_nsec = (long)(ns % 1000000000u);
    return at;
}

/* Under the mutex: until a collection is listed, or the engine stops. Looks for points that expire,
 * and for room on the disk where there was none. */
static void wait_for_work(struct omen_ingest *ingest)
{
    while (ingest->log_first == NULL && !ingest->stop) {
        const uint32_t next_s = list_expired(ingest);
        const uint64_t probe_ns = omen_room_probe_in_ns(&ingest->engine->room);
        struct timespec until = {.tv_sec = (time_t)next_s};

        if (ingest->log_first != NULL) return;
        if (probe_ns == 0) {
            look_for_room(ingest);
            continue;
        }
        if (probe_ns != UINT64_MAX && time_in(probe_ns).tv_sec < until.tv_sec)
            until = time_in(probe_ns);
        if (until.tv_sec == (time_t)UINT32_MAX)
            (void)pthread_cond_wait(&ingest->log_wake, &ingest->mutex);
        else
            (void)pthread_cond_timedwait(&ingest->log_wake, &ingest->mutex, &until);
    }
}

/* ---- room on the disk ----------------------------------------------------------------------- */

/* Under the mutex, which is let go of meanwhile. With room again every collection is listed: what
 * the log thread had to write of its own may have waited. */
static void look_for_room(struct omen_ingest *ingest)
{
    omen_engine *engine = ingest->engine;

    ingest->in_work++; /* whoever stops us waits: what is listed may need the applier */
    (void)pthread_mutex_unlock(&ingest->mutex);
    if (omen_room_probe(&engine->room)) {
        ingest->told_full = false;
        omen_engine_tell(engine, OMEN_EVENT_INFO, "there is room on the disk again: writes go on");
        omen_engine_tell_writes(engine);
        (void)pthread_mutex_lock(&engine->registry_mutex);
        (void)pthread_mutex_lock(&ingest->mutex);
        for (uint32_t i = 0; i < engine->collection_count; i++)
            list_log(ingest, engine->collections[i]);
        (void)pthread_mutex_unlock(&ingest->mutex);
        (void)pthread_mutex_unlock(&engine->registry_mutex);
    }
    (void)pthread_mutex_lock(&ingest->mutex);
    ingest->in_work--;
    (void)pthread_cond_broadcast(&ingest->idle);
}

/* Before anything of the group is written: room for its records, and for the originals of its
 * points, as if all were new. */
static omen_code make_room(omen_collection *c, struct group *group, omen_error *err)
{
    const struct omen_admit *admit = &c->admit;
    const uint32_t points = (uint32_t)group->points;
    const uint32_t again = points < admit->free.count ? points : admit->free.count;
    const uint32_t *slots = again == 0 ? NULL : admit->free.slots + admit->free.count - again;
    uint64_t end = (uint64_t)admit->slot_count + points - again;
    uint64_t spare = 0;

    if (group->refused || group->bytes == 0) return OMEN_OK;
    if (end > OMEN_SLOTS_MAX) end = OMEN_SLOTS_MAX;
    omen_code code = omen_room_check(
        &c->engine->room, group->bytes + omen_originals_missing(&c->originals, (uint32_t)end),
        &spare, err);
    if (code == OMEN_OK)
        code = omen_originals_reserve(&c->originals, (uint32_t)end, spare, slots, again, err);
    return note_full(c, group, false, code, err);
}

/* Turns a lack of room into a group that is refused as far as it is not written; `own`: a record of
 * the log thread's own found none. */
static omen_code note_full(omen_collection *c, struct group *group, bool own, omen_code code,
                           const omen_error *err)
{
    omen_engine *engine = c->engine;

    if (code != OMEN_RESOURCE_EXHAUSTED || strcmp(err->reason, OMEN_REASON_DISK_FULL) != 0)
        return code;
    if (own || omen_room_level(&engine->room) == OMEN_ROOM_FOR_ALL)
        omen_room_note(&engine->room, err, own);
    group->full = true;
    (void)!omen_room_refusal(&engine->room, &group->why);
    if (!engine->ingest->told_full) {
        engine->ingest->told_full = true;
        omen_engine_tell(engine, OMEN_EVENT_ERROR, "writes are refused: %s", group->why.message);
        omen_engine_tell_writes(engine);
    }
    return OMEN_OK;
}

/* ---- one group ------------------------------------------------------------------------------ */

/* Its records, and one sync; *first is the position of the first, 0 if there was none. */
static omen_code write_group(omen_collection *c, struct group *group, uint64_t *first,
                             omen_error *err)
{
    omen_code code = make_room(c, group, err);

    if (code == OMEN_OK) code = append_clockwork(c, group, first, err);
    if (code == OMEN_OK) code = append_group(c, group, first, err);
    if (code == OMEN_OK && *first != 0) code = omen_log_sync(c->log, err);
    OMEN_FAULT_POINT("fsync");
    return code;
}

/* Under the mutex: keeps the collection in the list of timers while any of its points expires. */
static void set_timer(struct omen_ingest *ingest, omen_collection *c)
{
    omen_collection **at = &ingest->timer_first;

    c->next_expiry_s = omen_expiry_next(&c->admit.expiry);
    while (*at != NULL && *at != c)
        at = &(*at)->next_to_expire;
    bool there = *at != NULL;
    bool wanted = c->next_expiry_s != UINT32_MAX && !c->failed && !c->dropped;
    if (there && !wanted) {
        *at = c->next_to_expire;
        omen_collection_release(c); /* the list's; the caller has another */
    } else if (!there && wanted) {
        omen_collection_retain(c);
        c->next_to_expire = ingest->timer_first;
        ingest->timer_first = c;
    }
}

/* Under the mutex: what one sync will cover, and whether an epoch shall end with it. */
static void take_group(omen_collection *c, struct group *group)
{
    uint64_t bytes = 0;
    uint64_t points = 0;
    struct omen_pending **at = &c->pending_first;

    *group = (struct group){.first = c->pending_first, .refused = c->failed || c->dropped};
    if (take_boundary(c, group)) return;
    while (*at != NULL && bytes < GROUP_BYTES_MAX) {
        bytes += (*at)->bytes;
        group->queued += (*at)->points;
        group->writes |= (*at)->kind == OMEN_PENDING_OPEN || (*at)->kind == OMEN_PENDING_CHUNK;
        group->settings |= (*at)->kind == OMEN_PENDING_SETTINGS;
        if ((*at)->kind == OMEN_PENDING_OPEN || (*at)->kind == OMEN_PENDING_SETTINGS)
            group->bytes += OMEN_OPEN_RECORD_BYTES + (*at)->payload_bytes;
        if ((*at)->chunk != NULL) points += (*at)->chunk->count + (*at)->chunk->delete_count;
        at = &(*at)->next;
    }
    struct omen_pending *rest = *at;
    *at = NULL;
    if (at == &c->pending_first) group->first = NULL;
    c->pending_first = rest;
    if (rest == NULL) c->pending_last = NULL;
    if (rest != NULL) list_log(c->engine->ingest, c);
    group->bytes += bytes;
    group->points = points;
    /* As if the group were admitted; an epoch that its size will end needs no record. */
    bool was_dirty = c->open_dirty;
    uint32_t was_points = c->open_points;
    c->open_dirty |= bytes > 0 || group->settings;
    c->open_points += (uint32_t)points;
    group->close =
        close_due(c) && c->open_points < omen_epoch_limit(&c->settings, c->admit.open).points;
    c->open_dirty = was_dirty;
    c->open_points = was_points;
}

static bool expiry_is_due(const omen_collection *c, const struct group *group)
{
    const struct omen_admit *admit = &c->admit;

    if (admit->algorithm < 2) return false;
    return omen_expiry_next(&admit->expiry) <= group->now_s ||
           (group->writes && (uint64_t)admit->clock_s + CLOCK_SECONDS <= group->now_s);
}

/* Rather between two epochs than in the midst of one, but not for ever. Not before the boundary of
 * the last one was published and everybody who read before it has gone: then nobody has to wait
 * when slots are used again. Nor while the last one is being written to a file (capture.h). One of
 * which a file is wanted, or that frees slots where memory is short, comes as soon as it may. */
static bool checkpoint_is_due(omen_collection *c, const struct group *group)
{
    const struct omen_admit *admit = &c->admit;
    const uint64_t bytes = omen_log_bytes(c->log) - admit->checkpoint_log_bytes;
    /* It ends an epoch, and so it comes as much more rarely as those are larger. */
    const uint64_t wanted = omen_epoch_grown(admit->checkpoint_bytes, admit->point_count);

    if (admit->algorithm < 2 || atomic_load(&c->checkpoints.busy)) return false;
    if (!group->file && !group->squeezed) {
        if (!group->writes || bytes < wanted) return false;
        if (!omen_admit_open_empty(admit) && bytes < 2 * wanted) return false;
    }
    return atomic_load_explicit(&c->published.epoch, memory_order_acquire) >=
               admit->checkpoint_epoch &&
           omen_grace_is_over(&c->grace);
}

/* Under the mutex: a CHECKPOINT gets a group of its own. It frees slots, lower ones than were free
 * before, after their originals were punched out: whoever makes room for a chunk must know them. */
static bool take_boundary(omen_collection *c, struct group *group)
{
    const struct omen_admit *admit = &c->admit;

    if (group->refused || omen_room_level(&c->engine->room) == OMEN_ROOM_FOR_NONE) return false;
    for (const struct omen_pending *p = c->pending_first; p != NULL && !group->writes; p = p->next)
        group->writes = p->kind == OMEN_PENDING_OPEN || p->kind == OMEN_PENDING_CHUNK;
    group->file = atomic_load(&c->checkpoints.ready);
    group->squeezed =
        c->memory_share.squeezed > 0 && (admit->dead.count > 0 || admit->swept.count > 0);
    group->boundary = checkpoint_is_due(c, group);
    if (!group->boundary) return false;
    group->first = NULL;
    if (c->pending_first != NULL) list_log(c->engine->ingest, c);
    return true;
}

/* A record of the log thread's own. */
static omen_code append_own(omen_collection *c, enum omen_record_type type, const void *payload,
                            size_t bytes, uint64_t *position, omen_error *err)
{
    struct iovec part = {(void *)(uintptr_t)payload, bytes};

    return omen_log_append(c->log, type, (uint16_t)c->admit.algorithm, &part, bytes > 0 ? 1 : 0,
                           position, err);
}

static const uint32_t sweep_all[2] = {OMEN_SETTING_SWEEP, 1};

/* What must come before the CHECKPOINT. For a file: a file of the log of its own, so that all
 * before it can go when this checkpoint is the older of two. And a sweep, so that nothing of the
 * dead is in the checkpoint, or in the way. */
static omen_code prepare_checkpoint(omen_collection *c, struct group *group, uint64_t *first,
                                    omen_error *err)
{
    omen_code code = OMEN_OK;

    if (!group->file && !group->squeezed) return OMEN_OK;
    if (group->file) code = omen_log_rotate(c->log, err);
    if (code != OMEN_OK || (c->admit.dead.count == 0 && omen_admit_open_empty(&c->admit) &&
                            group->expire_position == 0))
        return code;
    code = append_own(c, OMEN_RECORD_SETTINGS, sweep_all, sizeof sweep_all, &group->sweep_position,
                      err);
    if (*first == 0) *first = group->sweep_position;
    return code;
}

/* Whole files of the log that no checkpoint needs any more. If it fails nothing is lost but room.
 */
static void trim_log(omen_collection *c)
{
    const uint64_t before = atomic_load(&c->checkpoints.trim_before);
    const uint64_t bytes = omen_log_bytes(c->log);
    omen_error err;

    if (before == 0) return;
    if (omen_log_trim(c->log, before, &err) != OMEN_OK)
        omen_engine_tell(c->engine, OMEN_EVENT_WARNING,
                         "collection '%s': the log was not trimmed: %s", c->name, err.message);
    c->admit.checkpoint_log_bytes -= bytes - omen_log_bytes(c->log);
    omen_checkpointer_trimmed(c, before);
}

/* EXPIRE and CHECKPOINT, before what the streams want; a collection that nobody writes to stays as
 * it is, but for points that expire. */
static omen_code append_clockwork(omen_collection *c, struct group *group, uint64_t *first,
                                  omen_error *err)
{
    uint64_t now_s = (uint64_t)time(NULL);
    omen_code code = OMEN_OK;

    if (group->refused || omen_room_level(&c->engine->room) == OMEN_ROOM_FOR_NONE) return OMEN_OK;
    group->now_s = (uint32_t)now_s;
    if (expiry_is_due(c, group)) {
        code =
            append_own(c, OMEN_RECORD_EXPIRE, &now_s, sizeof now_s, &group->expire_position, err);
        *first = group->expire_position;
    }
    if (code == OMEN_OK && group->boundary) {
        code = prepare_checkpoint(c, group, first, err);
        if (code == OMEN_OK)
            code = append_own(c, OMEN_RECORD_CHECKPOINT, NULL, 0, &group->checkpoint_position, err);
        if (*first == 0) *first = group->checkpoint_position;
    }
    return note_full(c, group, true, code, err);
}

static enum omen_record_type record_type(const struct omen_pending *p)
{
    if (p->kind == OMEN_PENDING_SETTINGS) return OMEN_RECORD_SETTINGS;
    return p->kind == OMEN_PENDING_OPEN ? OMEN_RECORD_OPEN : OMEN_RECORD_CHUNK;
}

/* Appends the records; *first is the position of the first, 0 if there was none. */
static omen_code append_group(omen_collection *c, struct group *group, uint64_t *first,
                              omen_error *err)
{
    size_t open_bytes =
        c->admit.algorithm < 2 ? OMEN_SESSION_ID_BYTES : sizeof(struct omen_open_payload);
    omen_code code = OMEN_OK;
    uint64_t position = 0;

    for (struct omen_pending *p = group->first; p != NULL && !group->full && code == OMEN_OK;
         p = p->next) {
        struct iovec parts[OMEN_CHUNK_PARTS];
        int count = 1;

        if (p->kind == OMEN_PENDING_CLOSED || group->refused ||
            (p->kind == OMEN_PENDING_CHUNK && omen_stream_is_dead(p->stream)))
            continue;
        parts[0] = (struct iovec){&p->open, open_bytes};
        if (p->kind == OMEN_PENDING_CHUNK) count = omen_chunk_parts(p->chunk, parts);
        if (p->kind == OMEN_PENDING_SETTINGS)
            parts[0] = (struct iovec){(void *)(uintptr_t)p->payload, p->payload_bytes};
        code = omen_log_append(c->log, record_type(p), (uint16_t)c->admit.algorithm, parts, count,
                               &position, err);
        OMEN_FAULT_POINT("append");
        if (code == OMEN_OK) p->position = position;
        if (*first == 0) *first = p->position;
        code = note_full(c, group, false, code, err);
    }
    if (code == OMEN_OK && group->close && !group->refused && (c->open_dirty || *first != 0) &&
        omen_room_level(&c->engine->room) != OMEN_ROOM_FOR_NONE) {
        code = append_own(c, OMEN_RECORD_CLOSE, NULL, 0, &group->close_position, err);
        if (*first == 0) *first = group->close_position;
        code = note_full(c, group, true, code, err);
    }
    return code;
}

static omen_code admit_group(omen_collection *c, struct group *group, omen_error *err)
{
    omen_code code = OMEN_OK;

    if (group->expire_position != 0)
        code = omen_admit_expire(c, group->expire_position, group->now_s, &group->complete, err);
    if (code == OMEN_OK && group->sweep_position != 0) {
        const struct omen_record sweep = {.type = OMEN_RECORD_SETTINGS,
                                          .position = group->sweep_position,
                                          .payload = sweep_all,
                                          .length = sizeof sweep_all};

        code = omen_admit_settings(c, &sweep, &group->complete, err);
    }
    if (code == OMEN_OK && group->checkpoint_position != 0) {
        code = omen_admit_checkpoint(c, group->checkpoint_position, &group->complete, err);
        if (code == OMEN_OK && group->file) omen_checkpointer_begin(c, group->complete.last);
    }
    for (struct omen_pending *p = group->first; p != NULL && code == OMEN_OK; p = p->next) {
        if (p->position != 0 && p->kind == OMEN_PENDING_OPEN) {
            code = omen_admit_open(c, p->position, p->open.session_id, p->open.errors_seen_seq,
                                   p->stream, err);
        } else if (p->position != 0 && p->kind == OMEN_PENDING_SETTINGS) {
            const struct omen_record record = {.type = OMEN_RECORD_SETTINGS,
                                               .position = p->position,
                                               .payload = p->payload,
                                               .length = (uint32_t)p->payload_bytes};

            code = omen_admit_settings(c, &record, &group->complete, err);
            *p->admitted = code == OMEN_OK;
        } else if (p->position != 0) {
            code = omen_admit_chunk(c, p->position, p->chunk, p->stream, &group->complete, err);
            p->receipted = code == OMEN_OK;
        }
    }
    if (code == OMEN_OK && group->close_position != 0)
        code = omen_admit_close(c, group->close_position, &group->complete, err);
    atomic_store(&c->checkpoints.death_s, c->admit.death_s);
    atomic_store_explicit(&c->durable_position, c->admit.position, memory_order_release);
    return code;
}

/* Also when the group has failed: a session and its stream would else hold the collection. */
static void forget_closed(omen_collection *c, const struct omen_pending *p)
{
    struct omen_session *session = omen_session_find(&c->admit.sessions, p->open.session_id);

    if (session != NULL) omen_session_forget_stream(session, p->stream);
}

/* Whoever waits may now go, and take the entry along. */
static void settle(struct omen_ingest *ingest, const struct omen_pending *p)
{
    (void)pthread_mutex_lock(&ingest->mutex);
    *p->done = true;
    (void)pthread_cond_broadcast(&ingest->settled);
    (void)pthread_mutex_unlock(&ingest->mutex);
}

/* The chunks' memory goes back before any stream is told. Returns whether chunks were dropped. */
static bool free_chunks(omen_collection *c, const struct group *group)
{
    bool dropped = false;

    for (struct omen_pending *p = group->first; p != NULL; p = p->next) {
        if (p->kind != OMEN_PENDING_CHUNK) continue;
        omen_chunk_destroy(p->chunk);
        p->chunk = NULL;
        omen_stream_freed(p->stream, p->bytes);
        if (p->receipted) continue;
        atomic_fetch_sub_explicit(&c->backlog_bytes, p->bytes, memory_order_relaxed);
        omen_stream_dropped(p->stream, p->bytes);
        dropped = true;
    }
    return dropped;
}

/* Hands complete epochs to the applier, tells the streams, frees the group. */
static void finish_group(struct omen_ingest *ingest, omen_collection *c, struct group *group)
{
    struct omen_memory_counts counts;

    (void)pthread_mutex_lock(&c->admit_mutex); /* validate may look at it */
    if (group->refused) {
        tell_receipts(c, c->admit.open);
        omen_epoch_forget_receipts(c->admit.open);
    }
    counts = omen_memory_budget_count(c);
    (void)pthread_mutex_unlock(&c->admit_mutex);
    (void)pthread_mutex_lock(&ingest->mutex);
    if (group->complete.first != NULL) {
        if (c->complete_last != NULL)
            c->complete_last->next = group->complete.first;
        else
            c->complete_first = group->complete.first;
        c->complete_last = group->complete.last;
        list_apply(ingest, c);
    }
    set_timer(ingest, c);
    omen_memory_budget_settle(c, counts, group->queued,
                              group->squeezed && group->checkpoint_position != 0);
    c->open_dirty = omen_admit_open_dirty(&c->admit);
    c->open_points = (uint32_t)c->admit.open->record_points;
    if (close_due(c)) list_log(ingest, c);
    (void)pthread_mutex_unlock(&ingest->mutex);
    const bool dropped = free_chunks(c, group);
    while (group->first != NULL) {
        struct omen_pending *p = group->first;
        omen_stream *stream = p->stream;

        group->first = p->next;
        if (p->kind == OMEN_PENDING_SETTINGS) {
            settle(ingest, p);
            continue;
        }
        OMEN_FAULT_POINT("ack");
        if (group->full && p->position == 0 && p->kind != OMEN_PENDING_CLOSED)
            omen_stream_kill(stream, OMEN_RESOURCE_EXHAUSTED, &group->why);
        omen_stream_notify(stream);
        if (p->kind == OMEN_PENDING_CLOSED)
            forget_closed(c, p);
        else
            omen_free(p);
        omen_stream_release(stream);
    }
    /* No epoch will tell those that waited for this room. */
    if (group->refused || dropped) notify_streams(c);
    omen_collection_release(c); /* the list's */
}

/* ---- the applier -------------------------------------------------------------------------- */

static void *apply_main(void *arg)
{
    struct omen_ingest *ingest = arg;

    (void)pthread_setname_np(pthread_self(), "omen-apply");
    (void)pthread_mutex_lock(&ingest->mutex);
    for (;;) {
        omen_collection *c;
        struct omen_epoch *epoch;
        omen_error err;
        omen_code code = OMEN_OK;
        bool skip;

        while (ingest->apply_first == NULL && !ingest->stop)
            (void)pthread_cond_wait(&ingest->apply_wake, &ingest->mutex);
        c = ingest->apply_first;
        if (c == NULL) break;
        ingest->apply_first = c->next_to_apply;
        if (ingest->apply_first == NULL) ingest->apply_last = NULL;
        c->in_apply_list = false;
        epoch = c->complete_first;
        c->complete_first = epoch->next;
        if (c->complete_first == NULL) c->complete_last = NULL;
        c->applying = true;
        skip = c->failed || c->dropped;
        ingest->in_work++;
        if (close_due(c)) list_log(ingest, c);
        (void)pthread_mutex_unlock(&ingest->mutex);

        const uint64_t begin = omen_now_ns();
        if (!skip) code = omen_epoch_apply(ingest->engine->step, c, epoch, &err);
        if (code != OMEN_OK) fail_collection(c, code, &err);
        omen_checkpointer_worked(c, omen_now_ns() - begin);
        if (epoch->capture != NULL) omen_checkpointer_take(c, epoch, !skip && code == OMEN_OK);
        tell_receipts(c, epoch);
        omen_search_pool_look(ingest->engine->pool); /* at searches that wait for this epoch */

        (void)pthread_mutex_lock(&ingest->mutex);
        c->applying = false;
        if (c->complete_first != NULL)
            list_apply(ingest, c);
        else if (close_due(c) || c->memory_share.squeezed > 0)
            list_log(ingest, c);
        if (atomic_load(&c->checkpoints.wanted))
            list_log(ingest, c); /* it may have waited for us */
        (void)pthread_mutex_unlock(&ingest->mutex);
        omen_epoch_destroy(epoch);
        notify_streams(c);
        omen_collection_release(c); /* the list's */
        (void)pthread_mutex_lock(&ingest->mutex);
        ingest->in_work--;
        (void)pthread_cond_broadcast(&ingest->idle);
    }
    (void)pthread_mutex_unlock(&ingest->mutex);
    return NULL;
}

static void tell_receipts(omen_collection *c, const struct omen_epoch *epoch)
{
    bool published =
        atomic_load_explicit(&c->published.epoch, memory_order_acquire) >= epoch->number;

    for (uint32_t i = 0; i < epoch->receipt_count; i++) {
        const struct omen_receipt *r = &epoch->receipts[i];

        if (r->bytes > 0)
            atomic_fetch_sub_explicit(&c->backlog_bytes, r->bytes, memory_order_relaxed);
        if (r->stream == NULL) continue;
        if (published)
            omen_stream_searchable(r->stream, r->seq, r->bytes);
        else
            omen_stream_dropped(r->stream, r->bytes);
    }
}

/* Under the mutex: the stream to go on with after `s`, which was told without it. From the start if
 * `s` was closed meanwhile. Lets go of `s`; that is not the collection's last user. */
static omen_stream *next_stream(omen_collection *c, omen_stream *s)
{
    omen_stream *next = *omen_stream_next(s);

    omen_stream_release(s);
    return next == s ? c->streams : next;
}

/* All open streams: those of the epoch have news, others may have waited for room. A stream is
 * marked with the round in which it was told, since the list may change while nobody holds it. */
static void notify_streams(omen_collection *c)
{
    struct omen_ingest *ingest = c->engine->ingest;
    uint64_t round;

    (void)pthread_mutex_lock(&ingest->mutex);
    round = ++c->notify_round;
    for (omen_stream *s = c->streams; s != NULL;) {
        if (*omen_stream_round(s) >= round) {
            s = *omen_stream_next(s);
            continue;
        }
        *omen_stream_round(s) = round;
        omen_stream_retain(s);
        (void)pthread_mutex_unlock(&ingest->mutex);
        omen_stream_notify(s);
        (void)pthread_mutex_lock(&ingest->mutex);
        s = next_stream(c, s);
    }
    (void)pthread_mutex_unlock(&ingest->mutex);
}

/* ---- failure ------------------------------------------------------------------------------ */

static void fail_collection(omen_collection *c, omen_code code, const omen_error *why)
{
    struct omen_ingest *ingest = c->engine->ingest;
    omen_error told;

    (void)pthread_mutex_lock(&ingest->mutex);
    const bool first = !c->failed && !c->dropped;
    if (!c->failed) c->failure = *why;
    c->failed = true;
    list_log(ingest, c);
    (void)!refuse_if_closed(c, &told);
    (void)pthread_mutex_unlock(&ingest->mutex);
    if (first) omen_engine_count_failed(c->engine, &told);
    omen_engine_tell(c->engine, OMEN_EVENT_ERROR,
                     "collection '%s' takes no writes until a restart: %s", c->name, why->message);
    omen_checkpointer_give_up(c);
    kill_streams(c, code, why);
}

static void kill_streams(omen_collection *c, omen_code code, const omen_error *why)
{
    struct omen_ingest *ingest = c->engine->ingest;

    /* A dead stream stays listed until its owner closes it: go through them by marking. */
    (void)pthread_mutex_lock(&ingest->mutex);
    for (omen_stream *s = c->streams; s != NULL;) {
        if (omen_stream_is_dead(s)) {
            s = *omen_stream_next(s);
            continue;
        }
        omen_stream_retain(s);
        (void)pthread_mutex_unlock(&ingest->mutex);
        omen_stream_kill(s, code, why);
        (void)pthread_mutex_lock(&ingest->mutex);
        s = next_stream(c, s);
    }
    (void)pthread_mutex_unlock(&ingest->mutex);
}

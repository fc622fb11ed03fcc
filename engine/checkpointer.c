/* checkpointer.c - see checkpointer.h. */
#include "engine/checkpointer.h"

#include <string.h>
#include <time.h>

#include "engine/checkpoint.h"
#include "engine/clock.h"
#include "engine/engine_state.h"
#include "engine/fault_point.h"
#include "engine/ingest.h"
#include "engine/memory.h"

#define NS_PER_S 1000000000u
/* While a file is wanted the log thread is reminded this often. */
#define REMIND_MS 10u
/* How often it is looked whether points died too long ago. */
#define LOOK_MS 60000u
/* A disk that writes all the time serves nobody: the next file of itself comes when this many times
 * as long as the last one took has passed, or this long after a failure. */
#define REST_TIMES       4u
#define REST_AFTER_ERR_S 30u

struct omen_checkpointer {
    omen_engine *engine;
    pthread_t thread;
    bool started;
    _Atomic bool stop;

    pthread_mutex_t mutex;
    pthread_cond_t wake;  /* the thread */
    pthread_cond_t ended; /* those who wait for a file */
    /* Under the mutex, like what collections have of it. */
    omen_collection *first, *last; /* whose capture waits */
    bool look;                     /* somebody wants a file */
};

static void *run(void *arg);
static void write_one(struct omen_checkpointer *k, omen_collection *c);
static bool look_round(struct omen_checkpointer *k);
static bool erasure_is_due(struct omen_checkpoints *p, uint64_t now_s);
static void end_file(omen_collection *c, omen_code code, const omen_error *why);

static uint32_t earlier(uint32_t a, uint32_t b)
{
    if (a == 0 || b == 0) return a + b;
    return a < b ? a : b;
}

omen_code omen_checkpointer_create(omen_engine *engine, struct omen_checkpointer **out,
                                   omen_error *err)
{
    struct omen_checkpointer *k = omen_alloc_zeroed(sizeof *k);
    pthread_condattr_t monotonic;

    *out = k;
    if (k == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the checkpointer");
    k->engine = engine;
    (void)pthread_mutex_init(&k->mutex, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&k->wake, &monotonic);
    (void)pthread_cond_init(&k->ended, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    return OMEN_OK;
}

omen_code omen_checkpointer_start(struct omen_checkpointer *checkpointer, omen_error *err)
{
    struct omen_checkpointer *k = checkpointer;

    k->started = pthread_create(&k->thread, NULL, run, k) == 0;
    if (k->started) return OMEN_OK;
    return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the checkpointer's thread");
}

void omen_checkpointer_stop(struct omen_checkpointer *checkpointer)
{
    struct omen_checkpointer *k = checkpointer;

    if (k == NULL) return;
    (void)pthread_mutex_lock(&k->mutex);
    atomic_store(&k->stop, true);
    (void)pthread_cond_broadcast(&k->wake);
    (void)pthread_mutex_unlock(&k->mutex);
    if (k->started) (void)pthread_join(k->thread, NULL);
    k->started = false;
}

void omen_checkpointer_destroy(struct omen_checkpointer *checkpointer)
{
    struct omen_checkpointer *k = checkpointer;

    if (k == NULL) return;
    while (k->first != NULL) {
        omen_collection *c = k->first;

        k->first = c->checkpoints.next;
        omen_capture_destroy(c->checkpoints.capture);
        c->checkpoints.capture = NULL;
        omen_collection_release(c);
    }
    (void)pthread_cond_destroy(&k->ended);
    (void)pthread_cond_destroy(&k->wake);
    (void)pthread_mutex_destroy(&k->mutex);
    omen_free(k);
}

/* ---- who wants a file ---------------------------------------------------------------------- */

void omen_checkpointer_want(omen_collection *collection)
{
    struct omen_checkpointer *k = collection->engine->checkpointer;

    atomic_store(&collection->checkpoints.wanted, true);
    (void)pthread_mutex_lock(&k->mutex);
    k->look = true;
    (void)pthread_cond_signal(&k->wake);
    (void)pthread_mutex_unlock(&k->mutex);
}

void omen_checkpointer_worked(omen_collection *collection, uint64_t ns)
{
    struct omen_checkpoints *p = &collection->checkpoints;
    const omen_engine *engine = collection->engine;
    const uint64_t tail_ns = atomic_fetch_add(&p->tail_ns, ns) + ns;
    bool due;

    if (engine->checkpointer == NULL || engine->replay_ns_max == 0 ||
        tail_ns < engine->replay_ns_max || atomic_load(&p->wanted) || atomic_load(&p->busy))
        return;
    (void)pthread_mutex_lock(&engine->checkpointer->mutex);
    due = omen_now_ns() >= p->not_before_ns;
    (void)pthread_mutex_unlock(&engine->checkpointer->mutex);
    if (due) omen_checkpointer_want(collection);
}

static bool erasure_is_due(struct omen_checkpoints *p, uint64_t now_s)
{
    uint32_t death_s = earlier(atomic_load(&p->death_s), p->older_death_s);

    death_s = earlier(death_s, p->failed_death_s);
    return death_s != 0 && death_s + OMEN_ERASE_SECONDS_MAX / 2 <= now_s;
}

void omen_checkpointer_forget(omen_collection *collection)
{
    struct omen_checkpoints *p = &collection->checkpoints;

    if (p->room != NULL) omen_capture_room_deinit(p->room);
    omen_free(p->room);
    p->room = NULL;
}

/* ---- begin, take, end ---------------------------------------------------------------------- */

void omen_checkpointer_begin(omen_collection *collection, struct omen_epoch *boundary)
{
    struct omen_checkpoints *p = &collection->checkpoints;
    struct omen_checkpointer *k = collection->engine->checkpointer;
    struct omen_capture_room none = {.count = 0};
    struct omen_capture_room *room;
    omen_error err;
    omen_code code = OMEN_OK;

    (void)pthread_mutex_lock(&k->mutex);
    room = p->room;
    p->room = NULL;
    atomic_store(&p->ready, false);
    atomic_store(&p->wanted, false);
    atomic_store(&p->busy, true);
    p->begun++;
    p->begun_tail_ns = atomic_exchange(&p->tail_ns, 0);
    p->begun_death_s = earlier(collection->admit.death_s, p->failed_death_s);
    p->failed_death_s = 0;
    collection->admit.death_s = p->begun_death_s; /* the capture has it, too */
    (void)pthread_mutex_unlock(&k->mutex);
    code = omen_capture_create(collection, room == NULL ? &none : room, &boundary->capture, &err);
    omen_free(room);
    collection->admit.death_s = 0;
    if (code != OMEN_OK) end_file(collection, code, &err);
}

void omen_checkpointer_take(omen_collection *collection, struct omen_epoch *boundary, bool applied)
{
    struct omen_checkpointer *k = collection->engine->checkpointer;
    struct omen_capture *capture = boundary->capture;
    omen_error err = {.message = "the epoch was not applied"};

    boundary->capture = NULL;
    if (!applied || capture->code != OMEN_OK || atomic_load(&k->stop)) {
        if (capture->code != OMEN_OK) err = capture->error;
        end_file(collection, capture->code == OMEN_OK ? OMEN_CANCELLED : capture->code, &err);
        omen_capture_destroy(capture);
        return;
    }
    omen_collection_retain(collection);
    (void)pthread_mutex_lock(&k->mutex);
    collection->checkpoints.capture = capture;
    collection->checkpoints.next = NULL;
    if (k->last != NULL)
        k->last->checkpoints.next = collection;
    else
        k->first = collection;
    k->last = collection;
    (void)pthread_cond_signal(&k->wake);
    (void)pthread_mutex_unlock(&k->mutex);
}

/* A file is there, or came to nothing. */
static void end_file(omen_collection *c, omen_code code, const omen_error *why)
{
    struct omen_checkpoints *p = &c->checkpoints;
    struct omen_checkpointer *k = c->engine->checkpointer;

    (void)pthread_mutex_lock(&k->mutex);
    p->ended = p->begun;
    if (code == OMEN_OK) {
        p->older_death_s = p->begun_death_s;
        p->made = p->begun;
    } else {
        p->code = code;
        p->error = *why;
        p->failed_death_s = earlier(p->failed_death_s, p->begun_death_s);
        p->not_before_ns = omen_now_ns() + REST_AFTER_ERR_S * (uint64_t)NS_PER_S;
        p->info.failures++;
        (void)atomic_fetch_add(&p->tail_ns, p->begun_tail_ns);
    }
    p->begun_death_s = 0;
    atomic_store(&p->busy, false);
    (void)pthread_cond_broadcast(&k->ended);
    (void)pthread_mutex_unlock(&k->mutex);
    if (code != OMEN_OK && code != OMEN_CANCELLED)
        omen_engine_tell(c->engine, OMEN_EVENT_WARNING,
                         "collection '%s': no checkpoint was made, and the next replay takes "
                         "longer: %s",
                         c->name, why->message);
}

/* ---- the thread ---------------------------------------------------------------------------- */

/* Until somebody has work, or it is time to look round. Under the mutex. */
static void wait_for_work(struct omen_checkpointer *k, bool wanted)
{
    const uint64_t ms = wanted ? REMIND_MS : LOOK_MS;
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000L;
    until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / (long)NS_PER_S;
    until.tv_nsec %= (long)NS_PER_S;
    if (k->first == NULL && !k->look && !atomic_load(&k->stop))
        (void)pthread_cond_timedwait(&k->wake, &k->mutex, &until);
}

static void *run(void *arg)
{
    struct omen_checkpointer *k = arg;

    (void)pthread_setname_np(pthread_self(), "omen-checkpoint");
    (void)pthread_mutex_lock(&k->mutex);
    while (!atomic_load(&k->stop)) {
        omen_collection *c = k->first;
        bool wanted;

        if (c != NULL) {
            k->first = c->checkpoints.next;
            if (k->first == NULL) k->last = NULL;
            (void)pthread_mutex_unlock(&k->mutex);
            write_one(k, c);
            omen_collection_release(c); /* the queue's */
            (void)pthread_mutex_lock(&k->mutex);
            continue;
        }
        k->look = false;
        (void)pthread_mutex_unlock(&k->mutex);
        wanted = look_round(k);
        (void)pthread_mutex_lock(&k->mutex);
        wait_for_work(k, wanted);
    }
    (void)pthread_mutex_unlock(&k->mutex);
    return NULL;
}

static bool is_wanted(struct omen_checkpointer *k, omen_collection *c, uint64_t now_s)
{
    struct omen_checkpoints *p = &c->checkpoints;
    const uint64_t most_ns = k->engine->replay_ns_max;
    bool due;

    if (atomic_load(&p->busy)) return false;
    if (atomic_load(&p->wanted)) return true;
    if (most_ns == 0) return false;
    (void)pthread_mutex_lock(&k->mutex);
    due = omen_now_ns() >= p->not_before_ns &&
          (atomic_load(&p->tail_ns) >= most_ns || erasure_is_due(p, now_s));
    (void)pthread_mutex_unlock(&k->mutex);
    if (due) atomic_store(&p->wanted, true);
    return due;
}

/* Has memory ready for the copies, if there is any, and tells the log thread. */
static void make_ready(struct omen_checkpointer *k, omen_collection *c)
{
    struct omen_checkpoints *p = &c->checkpoints;

    if (!atomic_load(&p->ready)) {
        struct omen_capture_room *room = omen_alloc_zeroed(sizeof *room);

        if (room != NULL) omen_capture_room_init(room, c);
        (void)pthread_mutex_lock(&k->mutex);
        p->room = room;
        atomic_store(&p->ready, atomic_load(&p->wanted) && !atomic_load(&p->busy));
        if (!atomic_load(&p->ready)) omen_checkpointer_forget(c); /* the log thread was quicker */
        (void)pthread_mutex_unlock(&k->mutex);
    }
    omen_ingest_remind(c);
}

/* Is a file wanted that the log thread has not begun? It is reminded of it again and again, as what
 * it waits for (old readers) does not call it. */
static bool look_round(struct omen_checkpointer *k)
{
    omen_engine *engine = k->engine;
    const uint64_t now_s = (uint64_t)time(NULL);
    omen_collection *wanted[OMEN_COLLECTIONS_MAX];
    uint32_t count = 0;

    (void)pthread_mutex_lock(&engine->registry_mutex);
    for (uint32_t i = 0; i < engine->collection_count; i++) {
        if (!is_wanted(k, engine->collections[i], now_s)) continue;
        wanted[count++] = engine->collections[i];
        omen_collection_retain(engine->collections[i]);
    }
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    for (uint32_t i = 0; i < count; i++) {
        make_ready(k, wanted[i]);
        omen_collection_release(wanted[i]);
    }
    return count > 0;
}

/* Names the file in the manifest; then the files before the last two, and the log before the older
 * one, are of no use any more. */
static omen_code name_file(omen_collection *c, int dir, uint64_t position, omen_error *err)
{
    struct omen_checkpoints *p = &c->checkpoints;
    struct omen_storage *storage = omen_collection_storage(c);
    struct omen_manifest manifest = {.positions = {position, p->manifest.positions[0]},
                                     .count = p->manifest.count == 0 ? 1 : 2};
    omen_code code = omen_manifest_store(storage, dir, &manifest, err);

    if (code != OMEN_OK) return code;
    OMEN_FAULT_POINT("manifest"); /* it is named, and the older ones are not removed */
    p->manifest = manifest;
    omen_manifest_clean(storage, dir, &manifest);
    atomic_store(&p->file_position, position);
    if (manifest.count == OMEN_CHECKPOINTS_KEPT)
        atomic_store(&p->trim_before, manifest.positions[OMEN_CHECKPOINTS_KEPT - 1] + 1);
    return OMEN_OK;
}

/* A file that fills the disk would keep writes out until it is removed again. */
static omen_code check_room(omen_collection *c, const struct omen_capture *capture, omen_error *err)
{
    const struct omen_room *room = &c->engine->room;
    const uint64_t needed = omen_graph_bytes(&c->graph, capture->state.slots) + room->reserve;
    const uint64_t there = omen_room_free_bytes(room);

    if (there == 0 || there >= needed) return OMEN_OK; /* 0: nobody knows */
    return omen_fail_because(err, OMEN_RESOURCE_EXHAUSTED, OMEN_REASON_DISK_FULL,
                             "a file of about %llu bytes, the reserve included, does not fit the "
                             "%llu that are free",
                             (unsigned long long)needed, (unsigned long long)there);
}

static void write_one(struct omen_checkpointer *k, omen_collection *c)
{
    struct omen_checkpoints *p = &c->checkpoints;
    struct omen_storage *storage = omen_collection_storage(c);
    struct omen_capture *capture = p->capture;
    struct omen_checkpoint_info info = {.position = capture->state.position,
                                        .created_s = capture->state.created_s,
                                        .admit_us = capture->admit_ns / 1000,
                                        .graph_us = capture->graph_ns / 1000};
    const uint64_t begin = omen_now_ns();
    const int dir = storage->ops->open_dir(storage, c->dir);
    omen_error err;
    omen_code code = OMEN_OK;

    p->capture = NULL;
    if (dir < 0) code = omen_fail(&err, OMEN_UNAVAILABLE, "open %s: %m", c->dir);
    if (code == OMEN_OK) code = check_room(c, capture, &err);
    if (code == OMEN_OK) code = omen_checkpoint_write(c, dir, capture, &k->stop, &info.bytes, &err);
    OMEN_FAULT_POINT("checkpoint"); /* the file is there, and not named */
    if (code == OMEN_OK) code = name_file(c, dir, info.position, &err);
    if (dir >= 0) storage->ops->close(storage, dir);
    omen_capture_destroy(capture);
    info.write_us = (omen_now_ns() - begin) / 1000;
    if (code == OMEN_OK) {
        (void)pthread_mutex_lock(&k->mutex);
        info.failures = p->info.failures;
        p->info = info;
        p->not_before_ns = omen_now_ns() + REST_TIMES * 1000 * info.write_us;
        (void)pthread_mutex_unlock(&k->mutex);
        omen_engine_tell(c->engine, OMEN_EVENT_INFO,
                         "collection '%s': checkpoint at record %llu, %llu bytes in %llu ms; "
                         "writes stood still for %llu us, epochs for %llu us",
                         c->name, (unsigned long long)info.position, (unsigned long long)info.bytes,
                         (unsigned long long)info.write_us / 1000,
                         (unsigned long long)info.admit_us, (unsigned long long)info.graph_us);
    }
    end_file(c, code, &err);
    omen_ingest_remind(c); /* of the log's trim, and of boundaries that waited */
}

void omen_checkpointer_trimmed(omen_collection *collection, uint64_t before)
{
    struct omen_checkpointer *k = collection->engine->checkpointer;

    (void)pthread_mutex_lock(&k->mutex);
    (void)atomic_compare_exchange_strong(&collection->checkpoints.trim_before, &before, 0);
    (void)pthread_cond_broadcast(&k->ended);
    (void)pthread_mutex_unlock(&k->mutex);
}

void omen_checkpointer_give_up(omen_collection *collection)
{
    struct omen_checkpointer *k = collection->engine->checkpointer;

    (void)pthread_mutex_lock(&k->mutex);
    (void)pthread_cond_broadcast(&k->ended);
    (void)pthread_mutex_unlock(&k->mutex);
}

/* ---- calls --------------------------------------------------------------------------------- */

void omen_checkpointer_get_info(omen_collection *collection, struct omen_checkpoint_info *out)
{
    struct omen_checkpointer *k = collection->engine->checkpointer;

    if (k != NULL) (void)pthread_mutex_lock(&k->mutex);
    *out = collection->checkpoints.info;
    if (k != NULL) (void)pthread_mutex_unlock(&k->mutex);
}

omen_code omen_collection_checkpoint(omen_collection *collection, omen_error *err)
{
    struct omen_checkpoints *p = &collection->checkpoints;
    struct omen_checkpointer *k = collection->engine->checkpointer;
    omen_code code = omen_ingest_check(collection, err);
    uint64_t file;

    if (code != OMEN_OK) return code;
    (void)pthread_mutex_lock(&k->mutex);
    file = p->begun + 1; /* one under way may lack what came since it was begun */
    (void)pthread_mutex_unlock(&k->mutex);
    omen_checkpointer_want(collection);
    (void)pthread_mutex_lock(&k->mutex);
    while (p->ended < file || atomic_load(&p->trim_before) != 0) {
        code = omen_ingest_check(collection, err);
        if (code != OMEN_OK) break;
        (void)pthread_cond_wait(&k->ended, &k->mutex);
    }
    if (p->made >= file) {
        code = OMEN_OK;
    } else if (code == OMEN_OK) {
        code = p->code;
        if (err != NULL) *err = p->error;
    }
    (void)pthread_mutex_unlock(&k->mutex);
    return code;
}

omen_code omen_engine_checkpoint(omen_engine *engine, omen_error *err)
{
    omen_collection *collections[OMEN_COLLECTIONS_MAX];
    const uint32_t count = omen_engine_list(engine, collections);
    omen_code code = OMEN_OK;

    for (uint32_t i = 0; i < count; i++) {
        omen_collection *c = collections[i];
        omen_error failure;
        omen_code result = OMEN_OK;

        if (atomic_load(&c->durable_position) > atomic_load(&c->checkpoints.file_position))
            result = omen_collection_checkpoint(c, &failure);
        if (result != OMEN_OK && code == OMEN_OK)
            code = omen_fail(err, result, "collection '%s': %.180s", c->name, failure.message);
        omen_collection_release(c);
    }
    return code;
}

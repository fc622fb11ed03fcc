/* inserts.c - see inserts.h.
 *
 * Two locks, always taken in this order: `lock` has the list of streams, and keeps each alive while
 * it is nudged; then come the streams' own; `budget_lock` has the queue of those that wait for
 * room, is taken by streams that hold their own lock, and holds nobody up.
 *
 * A turn in the queue is one read. Whoever has had his turn need not send anything, so no more
 * turns are given at a time than there is room for, and the clock's tick gives further ones.
 */
#include "service/inserts.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "service/clock.h"

#define TICK_MS          1000u
#define TICK_NS          (TICK_MS * UINT64_C(1000000))
#define CREDIT_BYTES_MIN (1u << 20)
#define CREDIT_BYTES_MAX OMEN_STREAM_BYTES_MAX
#define TURN_BYTES       (512u << 10) /* a read's message, if it is a chunk */

struct omen_inserts {
    /* Fixed at start. */
    uint64_t budget_bytes;
    uint64_t max_age_ns;
    uint64_t heartbeat_ns;
    pthread_t timekeeper;
    bool started;

    /* Under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct omen_insert_entry *first;
    bool draining;

    /* Any thread. */
    _Atomic uint64_t used;
    _Atomic uint32_t count;

    /* Under `budget_lock`. */
    pthread_mutex_t budget_lock;
    pthread_cond_t wake;
    struct omen_insert_entry *first_waiting;
    struct omen_insert_entry **last_waiting;
    bool freed; /* there may be a turn for somebody */
    bool stopping;
};

static void *keep_time(void *user);

static uint64_t max_age_ns(const struct omen_config *config)
{
    uint64_t age = config->stream_max_age_seconds;
    /* The core takes up to a tenth off the connection's age. */
    uint64_t connection = (uint64_t)config->max_connection_age_seconds * 8 / 10;

    if (connection > 0 && (age == 0 || age > connection)) age = connection;
    return age == 0 ? UINT64_MAX : age * OMEN_NS_PER_S;
}

struct omen_inserts *omen_inserts_create(const struct omen_config *config)
{
    struct omen_inserts *inserts = calloc(1, sizeof *inserts);

    if (inserts == NULL) return NULL;
    inserts->budget_bytes = (uint64_t)config->ingest_memory_mib << 20;
    inserts->max_age_ns = max_age_ns(config);
    inserts->heartbeat_ns = config->heartbeat_seconds * OMEN_NS_PER_S;
    inserts->last_waiting = &inserts->first_waiting;
    (void)pthread_mutex_init(&inserts->lock, NULL);
    (void)pthread_cond_init(&inserts->changed, NULL);
    (void)pthread_mutex_init(&inserts->budget_lock, NULL);
    (void)pthread_cond_init(&inserts->wake, NULL);
    inserts->started = pthread_create(&inserts->timekeeper, NULL, keep_time, inserts) == 0;
    if (inserts->started) return inserts;
    omen_inserts_destroy(inserts);
    return NULL;
}

void omen_inserts_destroy(struct omen_inserts *inserts)
{
    if (inserts == NULL) return;
    (void)pthread_mutex_lock(&inserts->budget_lock);
    inserts->stopping = true;
    (void)pthread_cond_signal(&inserts->wake);
    (void)pthread_mutex_unlock(&inserts->budget_lock);
    if (inserts->started) (void)pthread_join(inserts->timekeeper, NULL);
    (void)pthread_cond_destroy(&inserts->wake);
    (void)pthread_mutex_destroy(&inserts->budget_lock);
    (void)pthread_cond_destroy(&inserts->changed);
    (void)pthread_mutex_destroy(&inserts->lock);
    free(inserts);
}

uint64_t omen_inserts_max_age_ns(const struct omen_inserts *inserts)
{
    return inserts->max_age_ns;
}

uint64_t omen_inserts_heartbeat_ns(const struct omen_inserts *inserts)
{
    return inserts->heartbeat_ns;
}

/* ---- joining and leaving ------------------------------------------------------------------ */

bool omen_inserts_join(struct omen_inserts *inserts, struct omen_insert_entry *entry)
{
    bool draining = false;

    (void)pthread_mutex_lock(&inserts->lock);
    draining = inserts->draining;
    entry->next = inserts->first;
    if (inserts->first != NULL) inserts->first->previous = entry;
    inserts->first = entry;
    atomic_fetch_add_explicit(&inserts->count, 1, memory_order_relaxed);
    (void)pthread_mutex_unlock(&inserts->lock);
    return !draining;
}

static void stop_waiting(struct omen_inserts *inserts, struct omen_insert_entry *entry)
{
    struct omen_insert_entry **at = &inserts->first_waiting;

    if (!entry->waiting) return;
    while (*at != entry)
        at = &(*at)->next_waiting;
    *at = entry->next_waiting;
    if (inserts->last_waiting == &entry->next_waiting) inserts->last_waiting = at;
    entry->next_waiting = NULL;
    entry->waiting = false;
}

void omen_inserts_leave(struct omen_inserts *inserts, struct omen_insert_entry *entry)
{
    omen_inserts_account(inserts, entry, 0);
    (void)pthread_mutex_lock(&inserts->lock);
    if (entry->next != NULL) entry->next->previous = entry->previous;
    if (entry->previous != NULL)
        entry->previous->next = entry->next;
    else
        inserts->first = entry->next;
    atomic_fetch_sub_explicit(&inserts->count, 1, memory_order_relaxed);
    (void)pthread_mutex_lock(&inserts->budget_lock);
    stop_waiting(inserts, entry);
    (void)pthread_mutex_unlock(&inserts->budget_lock);
    (void)pthread_cond_broadcast(&inserts->changed);
    (void)pthread_mutex_unlock(&inserts->lock);
}

/* ---- memory ------------------------------------------------------------------------------- */

uint64_t omen_inserts_bytes(const struct omen_inserts *inserts)
{
    return atomic_load_explicit(&inserts->used, memory_order_relaxed);
}

uint64_t omen_inserts_bytes_max(const struct omen_inserts *inserts)
{
    return inserts->budget_bytes;
}

void omen_inserts_account(struct omen_inserts *inserts, struct omen_insert_entry *entry,
                          uint64_t bytes)
{
    uint64_t before = entry->bytes;

    if (bytes == before) return;
    entry->bytes = bytes;
    atomic_fetch_add_explicit(&inserts->used, bytes - before, memory_order_relaxed);
    if (bytes > before) return;
    (void)pthread_mutex_lock(&inserts->budget_lock);
    if (inserts->first_waiting != NULL) {
        inserts->freed = true;
        (void)pthread_cond_signal(&inserts->wake);
    }
    (void)pthread_mutex_unlock(&inserts->budget_lock);
}

bool omen_inserts_may_read(struct omen_inserts *inserts, struct omen_insert_entry *entry)
{
    bool room = false;

    (void)pthread_mutex_lock(&inserts->budget_lock);
    /* Looked at under the lock, so that what is freed after it finds the entry waiting. */
    room = omen_inserts_bytes(inserts) < inserts->budget_bytes && inserts->first_waiting == NULL;
    if (!room && !entry->waiting) {
        entry->waiting = true;
        *inserts->last_waiting = entry;
        inserts->last_waiting = &entry->next_waiting;
    }
    (void)pthread_mutex_unlock(&inserts->budget_lock);
    return room;
}

uint32_t omen_inserts_credit(const struct omen_inserts *inserts, uint64_t bytes, bool room)
{
    uint64_t used = omen_inserts_bytes(inserts);
    uint32_t count = atomic_load_explicit(&inserts->count, memory_order_relaxed);
    uint64_t free_bytes = used < inserts->budget_bytes ? inserts->budget_bytes - used : 0;
    uint64_t credit = bytes + free_bytes / (count == 0 ? 1 : count);

    /* The collection has more than it can take in: less than now, step by step. */
    if (!room) credit = bytes / 2;
    if (credit < CREDIT_BYTES_MIN) return CREDIT_BYTES_MIN;
    return credit > CREDIT_BYTES_MAX ? CREDIT_BYTES_MAX : (uint32_t)credit;
}

/* ---- the timekeeper ----------------------------------------------------------------------- */

/* Whose turn it is; NULL: nobody's. Under `lock`, so that the entry stays. */
static struct omen_insert_entry *take_turn(struct omen_inserts *inserts)
{
    struct omen_insert_entry *entry = NULL;

    (void)pthread_mutex_lock(&inserts->budget_lock);
    entry = inserts->first_waiting;
    if (entry != NULL) stop_waiting(inserts, entry);
    (void)pthread_mutex_unlock(&inserts->budget_lock);
    return entry;
}

static void give_turns(struct omen_inserts *inserts)
{
    uint64_t used = omen_inserts_bytes(inserts);
    uint64_t turns =
        used < inserts->budget_bytes ? (inserts->budget_bytes - used) / TURN_BYTES + 1 : 0;
    struct omen_insert_entry *entry = NULL;

    (void)pthread_mutex_lock(&inserts->lock);
    while (turns-- > 0 && (entry = take_turn(inserts)) != NULL)
        entry->nudge(entry, OMEN_NUDGE_ROOM);
    (void)pthread_mutex_unlock(&inserts->lock);
}

static void nudge_all(const struct omen_inserts *inserts, enum omen_insert_nudge nudge)
{
    for (struct omen_insert_entry *entry = inserts->first; entry != NULL; entry = entry->next)
        entry->nudge(entry, nudge);
}

static void *keep_time(void *user)
{
    struct omen_inserts *inserts = user;
    struct timespec until = omen_clock_until(TICK_MS);
    uint64_t next_ns = omen_clock_ns() + TICK_NS;

    (void)pthread_setname_np(pthread_self(), "omen-time");
    (void)pthread_mutex_lock(&inserts->budget_lock);
    while (!inserts->stopping) {
        if (!inserts->freed)
            (void)pthread_cond_timedwait(&inserts->wake, &inserts->budget_lock, &until);
        bool ticked = omen_clock_ns() >= next_ns;
        bool freed = inserts->freed;

        inserts->freed = false;
        (void)pthread_mutex_unlock(&inserts->budget_lock);
        if (ticked) {
            (void)pthread_mutex_lock(&inserts->lock);
            nudge_all(inserts, OMEN_NUDGE_TICK);
            (void)pthread_mutex_unlock(&inserts->lock);
            until = omen_clock_until(TICK_MS);
            next_ns = omen_clock_ns() + TICK_NS;
        }
        if (ticked || freed) give_turns(inserts);
        (void)pthread_mutex_lock(&inserts->budget_lock);
    }
    (void)pthread_mutex_unlock(&inserts->budget_lock);
    return NULL;
}

/* ---- the end ------------------------------------------------------------------------------ */

void omen_inserts_drain(struct omen_inserts *inserts, uint32_t milliseconds)
{
    struct timespec until = omen_clock_until(milliseconds);

    (void)pthread_mutex_lock(&inserts->lock);
    inserts->draining = true;
    nudge_all(inserts, OMEN_NUDGE_DRAIN);
    while (inserts->first != NULL &&
           pthread_cond_timedwait(&inserts->changed, &inserts->lock, &until) == 0)
        continue;
    (void)pthread_mutex_unlock(&inserts->lock);
}

/* search.c - see search.h.
 *
 * Closed loop: every slot sends its next request when the last one is answered; a slow server then
 * gets fewer requests. Open loop: request n is due at n / rate, whatever the server does, and its
 * latency counts from then. A request that has to wait for a slot has waited all the same: leaving
 * that out is the "coordinated omission" that makes percentiles of overloaded servers look good.
 *
 * In the open loop a connection has a second thread, the pacer, which sleeps until a request is due
 * and sends it: timers of the event queue go in whole milliseconds, as long as a search takes.
 *
 * Failure modes: a request that fails is counted, told and not timed. A server that cannot keep the
 * rate is given twice the planned time; what was due and not sent by then is counted.
 */
#include "bench/load/search.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/clock.h"
#include "bench/load/messages.h"
#include "bench/load/transport.h"

#define POLL_NS (20 * 1000000LL) /* how long the end of the pacer may go unnoticed */

/* One request in flight at most. Written by who sends, read by who takes the answer. */
struct slot {
    int64_t due;
    int64_t sent;
};

/* One connection and its threads. */
struct driver {
    /* Fixed at start. */
    omen_load_searches *searches;
    pthread_t thread;
    pthread_t pacer;
    struct slot *slots;
    uint64_t slot_count;
    omen_load_connection *connection;

    /* Under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct slot **idle; /* a stack */
    uint64_t idle_count;
    bool paced; /* the pacer will send no more */

    /* The connection's thread; read after its end. */
    struct omen_load_search_result own;
    int64_t last; /* answer */
    omen_code code;
    omen_error err;

    /* The pacer; read after its end. */
    uint64_t not_sent;
};

struct omen_load_searches {
    struct omen_load_run *run;
    struct omen_load_query query;
    struct driver *drivers;
    uint64_t started; /* threads */
};

static omen_code create_driver(omen_load_searches *searches, uint64_t index, omen_error *err);
static void *drive(void *user);
static void *pace(void *user);
static bool take_request(struct driver *driver, uint64_t *number);
static bool sleep_until_due(struct driver *driver, int64_t due);
static void send_request(struct driver *driver, struct slot *slot, uint64_t number, int64_t due);
static void take_answer(struct driver *driver, const struct omen_load_event *event);
static void fail_request(struct driver *driver, omen_code code, const omen_error *err);
static struct slot *take_slot(struct driver *driver, int64_t give_up);
static void return_slot(struct driver *driver, struct slot *slot);
static bool all_done(struct driver *driver);
static void collect(omen_load_searches *searches, struct omen_load_search_result *result);
static void free_searches(omen_load_searches *searches);

/* ---- start and end ------------------------------------------------------------------------ */

omen_code omen_load_search_start(struct omen_load_run *run, omen_load_searches **out,
                                 omen_error *err)
{
    const struct omen_load_options *options = run->options;
    omen_load_searches *searches = calloc(1, sizeof *searches);
    omen_code code = OMEN_OK;

    *out = NULL;
    if (searches == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "memory for searches");
    searches->run = run;
    searches->query = (struct omen_load_query){.collection = options->collection,
                                               .batch = (uint32_t)options->batch,
                                               .k = (uint32_t)options->k,
                                               .ef = (uint32_t)options->ef,
                                               .exact = options->exact};
    searches->drivers = calloc(options->connections, sizeof *searches->drivers);
    if (searches->drivers == NULL)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "memory for searches");
    for (uint64_t i = 0; code == OMEN_OK && i < options->connections; i++)
        code = create_driver(searches, i, err);
    if (code != OMEN_OK) {
        free_searches(searches);
        return code;
    }
    for (; searches->started < options->connections; searches->started++) {
        struct driver *driver = &searches->drivers[searches->started];

        /* The others already wait at the gate: there is no way back. */
        if (pthread_create(&driver->thread, NULL, drive, driver) != 0) abort();
    }
    *out = searches;
    return OMEN_OK;
}

static omen_code create_driver(omen_load_searches *searches, uint64_t index, omen_error *err)
{
    const struct omen_load_options *options = searches->run->options;
    struct driver *driver = &searches->drivers[index];
    uint64_t share = options->concurrency / options->connections;
    pthread_condattr_t monotonic;

    driver->searches = searches;
    driver->slot_count = share + (index < options->concurrency % options->connections);
    (void)pthread_mutex_init(&driver->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&driver->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    driver->slots = calloc(driver->slot_count, sizeof *driver->slots);
    driver->idle = calloc(driver->slot_count, sizeof(struct slot *));
    if (driver->slots == NULL || driver->idle == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%" PRIu64 " slots", driver->slot_count);
    for (uint64_t i = 0; i < driver->slot_count; i++)
        driver->idle[driver->idle_count++] = &driver->slots[i];
    return OMEN_OK;
}

omen_code omen_load_search_end(omen_load_searches *searches, struct omen_load_search_result *result,
                               omen_error *err)
{
    omen_code code = OMEN_OK;

    if (searches == NULL) return OMEN_OK;
    for (uint64_t i = 0; i < searches->started; i++) {
        struct driver *driver = &searches->drivers[i];

        (void)pthread_join(driver->thread, NULL);
        if (driver->code == OMEN_OK || code != OMEN_OK) continue;
        code = driver->code;
        *err = driver->err;
    }
    collect(searches, result);
    free_searches(searches);
    return code;
}

static void free_searches(omen_load_searches *searches)
{
    uint64_t count = searches->run->options->connections;

    for (uint64_t i = 0; searches->drivers != NULL && i < count; i++) {
        struct driver *driver = &searches->drivers[i];

        free(driver->slots);
        free(driver->idle);
        if (driver->searches == NULL) continue;
        (void)pthread_mutex_destroy(&driver->lock);
        (void)pthread_cond_destroy(&driver->changed);
    }
    free(searches->drivers);
    free(searches);
}

/* ---- threads ------------------------------------------------------------------------------ */

static void *drive(void *user)
{
    struct driver *driver = user;
    struct omen_load_run *run = driver->searches->run;
    bool open_loop = run->options->rate > 0;
    uint64_t number = 0;

    driver->code =
        omen_load_connection_open(run->options->target, &driver->connection, &driver->err);
    if (!omen_load_run_enter(run, driver->code == OMEN_OK)) goto done;
    if (open_loop) {
        if (pthread_create(&driver->pacer, NULL, pace, driver) != 0) abort();
    } else {
        driver->paced = true;
    }
    while (!open_loop && driver->idle_count > 0 && take_request(driver, &number))
        send_request(driver, take_slot(driver, 0), number, 0);
    while (!all_done(driver)) {
        struct omen_load_event event;

        if (!omen_load_connection_next(driver->connection, omen_load_clock_now() + POLL_NS, &event))
            continue;
        struct slot *slot = event.user;

        take_answer(driver, &event);
        if (!open_loop && driver->code == OMEN_OK && take_request(driver, &number))
            send_request(driver, slot, number, 0);
        else
            return_slot(driver, slot);
    }
    if (open_loop) (void)pthread_join(driver->pacer, NULL);

done:
    omen_load_connection_close(driver->connection);
    return NULL;
}

static void *pace(void *user)
{
    struct driver *driver = user;
    const struct omen_load_run *run = driver->searches->run;
    const struct omen_load_options *options = run->options;
    double planned =
        options->seconds > 0 ? options->seconds : (double)options->requests / options->rate;
    int64_t give_up = options->mode == OMEN_LOAD_MODE_MIXED
                          ? OMEN_LOAD_NEVER
                          : run->begin + (int64_t)((2 * planned + 1) * 1e9);
    uint64_t number = 0;

    omen_load_clock_sharpen();
    while (take_request(driver, &number)) {
        int64_t due = run->begin + (int64_t)((double)number / options->rate * 1e9);

        if (!sleep_until_due(driver, due)) break;
        struct slot *slot = take_slot(driver, give_up);

        if (slot == NULL)
            driver->not_sent++;
        else
            send_request(driver, slot, number, due);
    }
    (void)pthread_mutex_lock(&driver->lock);
    driver->paced = true;
    (void)pthread_mutex_unlock(&driver->lock);
    return NULL;
}

/* False when the run has had all its requests. */
static bool take_request(struct driver *driver, uint64_t *number)
{
    struct omen_load_run *run = driver->searches->run;
    const struct omen_load_options *options = run->options;
    int64_t end = run->begin + (int64_t)(options->seconds * 1e9);

    if (options->mode == OMEN_LOAD_MODE_MIXED && atomic_load(&run->ingesting) == 0) return false;
    *number = atomic_fetch_add(&run->next_request, 1);
    if (options->requests > 0 && *number >= options->requests) return false;
    if (options->seconds <= 0) return true;
    if (options->rate > 0) return (double)*number < options->seconds * options->rate;
    return omen_load_clock_now() < end;
}

/* False when there is no reason any more to send what will be due. */
static bool sleep_until_due(struct driver *driver, int64_t due)
{
    struct omen_load_run *run = driver->searches->run;
    bool mixed = run->options->mode == OMEN_LOAD_MODE_MIXED;

    for (;;) {
        int64_t now = omen_load_clock_now();

        if (mixed && atomic_load(&run->ingesting) == 0) return false;
        if (now >= due) return true;
        omen_load_clock_sleep(mixed && due - now > POLL_NS ? now + POLL_NS : due);
    }
}

/* ---- requests ----------------------------------------------------------------------------- */

/* `due` 0: now. */
static void send_request(struct driver *driver, struct slot *slot, uint64_t number, int64_t due)
{
    const struct omen_load_searches *searches = driver->searches;
    struct omen_load_payload payload = omen_load_encode_search(
        &searches->query, searches->run->queries, number * searches->query.batch);

    slot->sent = omen_load_clock_now();
    slot->due = due != 0 ? due : slot->sent;
    omen_load_call_ask(driver->connection, OMEN_LOAD_SEARCH, payload, slot);
}

static void take_answer(struct driver *driver, const struct omen_load_event *event)
{
    const struct slot *slot = event->user;
    uint32_t batch = driver->searches->query.batch;
    struct omen_load_search_result *own = &driver->own;
    int64_t now = omen_load_clock_now();
    struct omen_load_search_answer answer;
    omen_error err;
    omen_code code = omen_load_call_status(event->call, &err);

    driver->last = now;
    if (code == OMEN_OK &&
        (!omen_load_decode_search(omen_load_call_message(event->call), &answer) ||
         answer.results != batch))
        code = omen_fail(&err, OMEN_INTERNAL, "an answer without a result for each of %u queries",
                         batch);
    if (code != OMEN_OK) {
        fail_request(driver, code, &err);
    } else {
        own->requests++;
        own->queries += batch;
        own->hits += answer.hits;
        own->visited += answer.visited;
        omen_load_histogram_add(&own->latency, now - slot->due);
        omen_load_histogram_add(&own->service, now - slot->sent);
        omen_load_histogram_add(&own->late, slot->sent - slot->due);
    }
    omen_load_call_destroy(event->call);
}

static void fail_request(struct driver *driver, omen_code code, const omen_error *err)
{
    driver->own.failed++;
    if (driver->code != OMEN_OK) return;
    driver->code = code;
    driver->err = *err;
    memcpy(driver->own.first_error, err->message, sizeof err->message);
}

/* ---- slots -------------------------------------------------------------------------------- */

/* NULL: none came free until `give_up`; 0: one is free. */
static struct slot *take_slot(struct driver *driver, int64_t give_up)
{
    struct timespec until = {.tv_sec = give_up / OMEN_LOAD_SECOND,
                             .tv_nsec = give_up % OMEN_LOAD_SECOND};
    struct slot *slot = NULL;
    int error = 0;

    (void)pthread_mutex_lock(&driver->lock);
    while (driver->idle_count == 0 && error == 0)
        error = give_up == OMEN_LOAD_NEVER
                    ? pthread_cond_wait(&driver->changed, &driver->lock)
                    : pthread_cond_timedwait(&driver->changed, &driver->lock, &until);
    if (driver->idle_count > 0) slot = driver->idle[--driver->idle_count];
    (void)pthread_mutex_unlock(&driver->lock);
    return slot;
}

static void return_slot(struct driver *driver, struct slot *slot)
{
    (void)pthread_mutex_lock(&driver->lock);
    driver->idle[driver->idle_count++] = slot;
    (void)pthread_cond_signal(&driver->changed);
    (void)pthread_mutex_unlock(&driver->lock);
}

static bool all_done(struct driver *driver)
{
    (void)pthread_mutex_lock(&driver->lock);
    bool done = driver->paced && driver->idle_count == driver->slot_count;
    (void)pthread_mutex_unlock(&driver->lock);
    return done;
}

/* ---- figures ------------------------------------------------------------------------------ */

static void collect(omen_load_searches *searches, struct omen_load_search_result *result)
{
    int64_t last = searches->run->begin;

    memset(result, 0, sizeof *result);
    for (uint64_t i = 0; i < searches->started; i++) {
        const struct driver *driver = &searches->drivers[i];

        result->requests += driver->own.requests;
        result->queries += driver->own.queries;
        result->hits += driver->own.hits;
        result->visited += driver->own.visited;
        result->failed += driver->own.failed;
        result->not_sent += driver->not_sent;
        omen_load_histogram_merge(&result->latency, &driver->own.latency);
        omen_load_histogram_merge(&result->service, &driver->own.service);
        omen_load_histogram_merge(&result->late, &driver->own.late);
        if (result->first_error[0] == '\0')
            memcpy(result->first_error, driver->own.first_error, sizeof result->first_error);
        if (driver->last > last) last = driver->last;
    }
    result->seconds = (double)(last - searches->run->begin) / 1e9;
}

/* calibrator.c - see calibrator.h. */
#include "engine/calibrator.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "engine/calibrate.h"
#include "engine/engine_state.h"
#include "engine/memory.h"
#include "engine/query_sample.h"
#include "engine/search.h"

#define NS_PER_S     UINT64_C(1000000000)
#define LOOK_NS      NS_PER_S
#define GIVE_WAY_NS  UINT64_C(1000000) /* to a queue of searches, so long at a time */
#define GIVE_WAY_MAX 50u               /* and so often */
#define REST_NS_MIN  UINT64_C(2000000) /* shorter rests are put together */
#define RARELY       10u               /* times calibrate_seconds, for a few new queries */

struct omen_calibrator {
    /* Fixed. */
    omen_engine *engine;
    pthread_t thread;
    bool started;

    /* The thread's own. */
    omen_collection *listed[OMEN_COLLECTIONS_MAX]; /* counted */
    omen_collection *in_work;
    uint64_t cpu_ns; /* of the thread, when its last piece of work began */
    uint64_t owed_ns;

    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop; /* under the mutex */
};

static void *calibrator_main(void *arg);
static bool wait_ns(struct omen_calibrator *calibrator, uint64_t ns);
static bool is_due(omen_collection *c, uint64_t now_ns);
static bool pace(void *user);

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

omen_code omen_calibrator_start(omen_engine *engine, struct omen_calibrator **out, omen_error *err)
{
    struct omen_calibrator *calibrator = omen_alloc_zeroed(sizeof *calibrator);
    pthread_condattr_t monotonic;

    *out = NULL;
    if (calibrator == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the calibrator");
    calibrator->engine = engine;
    (void)pthread_mutex_init(&calibrator->mutex, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&calibrator->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    calibrator->started =
        pthread_create(&calibrator->thread, NULL, calibrator_main, calibrator) == 0;
    if (!calibrator->started) {
        omen_calibrator_stop(calibrator);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the calibrator's thread");
    }
    *out = calibrator;
    return OMEN_OK;
}

void omen_calibrator_stop(struct omen_calibrator *calibrator)
{
    if (calibrator == NULL) return;
    (void)pthread_mutex_lock(&calibrator->mutex);
    calibrator->stop = true;
    (void)pthread_cond_signal(&calibrator->wake);
    (void)pthread_mutex_unlock(&calibrator->mutex);
    if (calibrator->started) (void)pthread_join(calibrator->thread, NULL);
    (void)pthread_cond_destroy(&calibrator->wake);
    (void)pthread_mutex_destroy(&calibrator->mutex);
    omen_free(calibrator);
}

static uint32_t list_collections(struct omen_calibrator *calibrator)
{
    omen_engine *engine = calibrator->engine;
    uint32_t count;

    (void)pthread_mutex_lock(&engine->registry_mutex);
    count = engine->collection_count;
    for (uint32_t i = 0; i < count; i++) {
        calibrator->listed[i] = engine->collections[i];
        omen_collection_retain(calibrator->listed[i]);
    }
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    return count;
}

static void calibrate_one(struct omen_calibrator *calibrator, omen_collection *c)
{
    const struct omen_pace paced = {pace, calibrator};
    omen_error err;
    omen_code code;

    calibrator->in_work = c;
    calibrator->owed_ns = 0;
    calibrator->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    code = omen_calibrate(c, &paced, &err);
    c->calibrate_failed = code != OMEN_OK;
    c->calibrate_after_ns =
        clock_ns(CLOCK_MONOTONIC) + calibrator->engine->calibrate_seconds * NS_PER_S;
    if (code != OMEN_OK && code != OMEN_CANCELLED)
        omen_engine_tell(calibrator->engine, OMEN_EVENT_WARNING,
                         "collection '%s': ef was not calibrated: %s", c->name, err.message);
}

static void *calibrator_main(void *arg)
{
    struct omen_calibrator *calibrator = arg;

    (void)pthread_setname_np(pthread_self(), "omen-calibrate");
    while (wait_ns(calibrator, LOOK_NS)) {
        uint32_t count = list_collections(calibrator);

        for (uint32_t i = 0; i < count; i++) {
            omen_collection *c = calibrator->listed[i];

            if (is_due(c, clock_ns(CLOCK_MONOTONIC)) && wait_ns(calibrator, 0))
                calibrate_one(calibrator, c);
            omen_collection_release(c);
        }
    }
    return NULL;
}

/* False: the calibrator shall stop. */
static bool wait_ns(struct omen_calibrator *calibrator, uint64_t ns)
{
    uint64_t until = clock_ns(CLOCK_MONOTONIC) + ns;
    const struct timespec at = {.tv_sec = (time_t)(until / NS_PER_S),
                                .tv_nsec = (long)(until % NS_PER_S)};
    bool stop;

    (void)pthread_mutex_lock(&calibrator->mutex);
    while (ns > 0 && !calibrator->stop &&
           pthread_cond_timedwait(&calibrator->wake, &calibrator->mutex, &at) == 0)
        continue;
    stop = calibrator->stop;
    (void)pthread_mutex_unlock(&calibrator->mutex);
    return !stop;
}

static bool is_due(omen_collection *c, uint64_t now_ns)
{
    uint64_t points = atomic_load_explicit(&c->published.points, memory_order_relaxed);
    uint64_t fresh = c->sample == NULL ? 0 : omen_query_sample_fresh(c->sample);
    struct omen_tuning tuning;

    if (points <= OMEN_SMALL_COLLECTION) return false;
    if (c->calibrate_failed && now_ns < c->calibrate_after_ns) return false;
    (void)pthread_mutex_lock(&c->tuning_mutex);
    tuning = c->tuning;
    (void)pthread_mutex_unlock(&c->tuning_mutex);
    const struct omen_calibration *last = &tuning.calibration;
    if (last->ef[0] == 0 || last->target != tuning.target || points > 2 * (uint64_t)last->points ||
        points < last->points / 2)
        return true;
    if (now_ns < c->calibrate_after_ns) return false;
    if (fresh >= OMEN_CALIBRATE_QUERIES_MAX) return true;
    if (fresh < OMEN_CALIBRATE_QUERIES_LIVE) return false;
    uint64_t rarely_ns = (RARELY - 1) * c->engine->calibrate_seconds * NS_PER_S;
    return last->live == 0 || now_ns >= c->calibrate_after_ns + rarely_ns;
}

/* See omen_search_private. */
static bool pace(void *user)
{
    struct omen_calibrator *calibrator = user;
    omen_collection *c = calibrator->in_work;
    const uint32_t percent = calibrator->engine->calibrate_percent;
    uint64_t now = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    bool goes_on = true;

    calibrator->owed_ns += (now - calibrator->cpu_ns) * (100 - percent) / percent;
    for (uint32_t i = 0; i < GIVE_WAY_MAX && goes_on; i++) {
        if (!omen_search_pool_queues(calibrator->engine->pool)) break;
        goes_on = wait_ns(calibrator, GIVE_WAY_NS);
    }
    if (calibrator->owed_ns >= REST_NS_MIN && goes_on) {
        bool hurry = atomic_load_explicit(&c->calibrate_waiting, memory_order_relaxed) > 0;

        goes_on = wait_ns(calibrator, hurry ? 0 : calibrator->owed_ns);
        calibrator->owed_ns = 0;
    }
    calibrator->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    return goes_on && !atomic_load_explicit(&c->gone, memory_order_relaxed);
}

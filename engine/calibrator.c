/* calibrator.c - see calibrator.h. */
#include "engine/calibrator.h"

#include <string.h>
#include <time.h>

#include "engine/background.h"
#include "engine/calibrate.h"
#include "engine/clock.h"
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

    /* The thread's own. */
    omen_collection *listed[OMEN_COLLECTIONS_MAX]; /* counted */
    omen_collection *in_work;
    uint64_t cpu_ns; /* of the thread, when its last piece of work began */
    uint64_t owed_ns;

    struct omen_background background;
};

static void *calibrator_main(void *arg);
static bool is_due(omen_collection *c, uint64_t now_ns);
static bool pace(void *user);

static uint64_t cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

omen_code omen_calibrator_start(omen_engine *engine, struct omen_calibrator **out, omen_error *err)
{
    struct omen_calibrator *calibrator = omen_alloc_zeroed(sizeof *calibrator);
    omen_code code;

    *out = NULL;
    if (calibrator == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the calibrator");
    calibrator->engine = engine;
    code = omen_background_start(&calibrator->background, "omen-calibrate", calibrator_main,
                                 calibrator, err);
    if (code != OMEN_OK) {
        omen_calibrator_stop(calibrator);
        return code;
    }
    *out = calibrator;
    return OMEN_OK;
}

void omen_calibrator_stop(struct omen_calibrator *calibrator)
{
    if (calibrator == NULL) return;
    omen_background_stop(&calibrator->background);
    omen_free(calibrator);
}

static void calibrate_one(struct omen_calibrator *calibrator, omen_collection *c)
{
    const struct omen_pace paced = {pace, calibrator};
    omen_error err;
    omen_code code;

    calibrator->in_work = c;
    calibrator->owed_ns = 0;
    calibrator->cpu_ns = cpu_ns();
    code = omen_calibrate(c, &paced, &err);
    c->calibrate_failed = code != OMEN_OK;
    c->calibrate_after_ns = omen_now_ns() + calibrator->engine->calibrate_seconds * NS_PER_S;
    if (code != OMEN_OK && code != OMEN_CANCELLED)
        omen_engine_tell(calibrator->engine, OMEN_EVENT_WARNING,
                         "collection '%s': ef was not calibrated: %s", c->name, err.message);
}

static void *calibrator_main(void *arg)
{
    struct omen_calibrator *calibrator = arg;

    while (omen_background_rest(&calibrator->background, LOOK_NS)) {
        uint32_t count = omen_engine_list(calibrator->engine, calibrator->listed);

        for (uint32_t i = 0; i < count; i++) {
            omen_collection *c = calibrator->listed[i];

            if (is_due(c, omen_now_ns()) && omen_background_rest(&calibrator->background, 0))
                calibrate_one(calibrator, c);
            omen_collection_release(c);
        }
    }
    return NULL;
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
    uint64_t now = cpu_ns();
    bool goes_on = true;

    calibrator->owed_ns += (now - calibrator->cpu_ns) * (100 - percent) / percent;
    for (uint32_t i = 0; i < GIVE_WAY_MAX && goes_on; i++) {
        if (!omen_search_pool_queues(calibrator->engine->pool)) break;
        goes_on = omen_background_rest(&calibrator->background, GIVE_WAY_NS);
    }
    if (calibrator->owed_ns >= REST_NS_MIN && goes_on) {
        bool hurry = atomic_load_explicit(&c->calibrate_waiting, memory_order_relaxed) > 0;

        goes_on = omen_background_rest(&calibrator->background, hurry ? 0 : calibrator->owed_ns);
        calibrator->owed_ns = 0;
    }
    calibrator->cpu_ns = cpu_ns();
    return goes_on && !atomic_load_explicit(&c->gone, memory_order_relaxed);
}

/* background.c - see background.h. */
#include "engine/background.h"

#include "engine/clock.h"

#define NS_PER_S UINT64_C(1000000000)

static void destroy(struct omen_background *b)
{
    (void)pthread_cond_destroy(&b->wake);
    (void)pthread_mutex_destroy(&b->mutex);
    *b = (struct omen_background){.started = false};
}

omen_code omen_background_start(struct omen_background *background, const char *name,
                                void *(*work)(void *), void *user, omen_error *err)
{
    struct omen_background *b = background;
    pthread_condattr_t monotonic;

    (void)pthread_mutex_init(&b->mutex, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&b->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    b->started = pthread_create(&b->thread, NULL, work, user) == 0;
    if (!b->started) {
        destroy(b);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the thread %s", name);
    }
    (void)pthread_setname_np(b->thread, name);
    return OMEN_OK;
}

void omen_background_stop(struct omen_background *background)
{
    struct omen_background *b = background;

    if (!b->started) return;
    (void)pthread_mutex_lock(&b->mutex);
    b->stop = true;
    (void)pthread_cond_signal(&b->wake);
    (void)pthread_mutex_unlock(&b->mutex);
    (void)pthread_join(b->thread, NULL);
    destroy(b);
}

bool omen_background_rest(struct omen_background *background, uint64_t ns)
{
    struct omen_background *b = background;
    const uint64_t until = omen_now_ns() + ns;
    const struct timespec at = {.tv_sec = (time_t)(until / NS_PER_S),
                                .tv_nsec = (long)(until % NS_PER_S)};
    bool stop;

    (void)pthread_mutex_lock(&b->mutex);
    while (ns > 0 && !b->stop && pthread_cond_timedwait(&b->wake, &b->mutex, &at) == 0)
        continue;
    stop = b->stop;
    (void)pthread_mutex_unlock(&b->mutex);
    return !stop;
}

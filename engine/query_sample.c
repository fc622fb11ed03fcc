/* query_sample.c - see query_sample.h. */
#include "engine/query_sample.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/memory.h"

struct omen_query_sample {
    uint32_t dim; /* fixed */

    /* Any thread. What an offer adds to `seen` while the window turns may be lost or counted in
     * the new one: that moves a chance by one query. */
    _Atomic uint64_t seen;  /* of this window, what came before included */
    _Atomic uint64_t start; /* `seen` when the window began */
    _Atomic uint64_t window;

    pthread_mutex_t mutex;
    /* Under the mutex. */
    uint32_t count;
    float *vectors; /* OMEN_CALIBRATE_QUERIES_MAX x dim */
};

/* The finaliser of splitmix64: a fixed sequence of numbers that look random. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

omen_code omen_query_sample_create(uint32_t dim, struct omen_query_sample **out, omen_error *err)
{
    struct omen_query_sample *sample = omen_alloc_zeroed(sizeof *sample);

    *out = NULL;
    if (sample != NULL)
        sample->vectors =
            omen_alloc((size_t)OMEN_CALIBRATE_QUERIES_MAX * dim * sizeof *sample->vectors);
    if (sample == NULL || sample->vectors == NULL) {
        omen_free(sample);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a sample of %u queries",
                         OMEN_CALIBRATE_QUERIES_MAX);
    }
    sample->dim = dim;
    (void)pthread_mutex_init(&sample->mutex, NULL);
    *out = sample;
    return OMEN_OK;
}

void omen_query_sample_destroy(struct omen_query_sample *sample)
{
    if (sample == NULL) return;
    (void)pthread_mutex_destroy(&sample->mutex);
    omen_free(sample->vectors);
    omen_free(sample);
}

void omen_query_sample_offer(struct omen_query_sample *sample, const float *query)
{
    uint64_t seen = atomic_fetch_add_explicit(&sample->seen, 1, memory_order_relaxed);
    uint64_t place = seen;

    if (seen >= OMEN_CALIBRATE_QUERIES_MAX) {
        /* Other places in each window, or some would keep their queries for ever. */
        uint64_t window = atomic_load_explicit(&sample->window, memory_order_relaxed);
        place = mix(window << 40 ^ seen) % (seen + 1);
    }
    if (place >= OMEN_CALIBRATE_QUERIES_MAX) return;
    if (pthread_mutex_trylock(&sample->mutex) != 0) return;
    if (place > sample->count) place = sample->count; /* others before it were let go */
    if (place == sample->count) sample->count++;
    memcpy(sample->vectors + place * sample->dim, query, sample->dim * sizeof *query);
    (void)pthread_mutex_unlock(&sample->mutex);
}

uint64_t omen_query_sample_fresh(const struct omen_query_sample *sample)
{
    uint64_t start = atomic_load_explicit(&sample->start, memory_order_relaxed);
    uint64_t seen = atomic_load_explicit(&sample->seen, memory_order_relaxed);

    return seen > start ? seen - start : 0;
}

uint32_t omen_query_sample_copy(struct omen_query_sample *sample, float *out)
{
    uint32_t count;

    (void)pthread_mutex_lock(&sample->mutex);
    count = sample->count;
    memcpy(out, sample->vectors, (size_t)count * sample->dim * sizeof *out);
    (void)pthread_mutex_unlock(&sample->mutex);
    return count;
}

void omen_query_sample_turn(struct omen_query_sample *sample)
{
    uint64_t seen = atomic_load_explicit(&sample->seen, memory_order_relaxed);

    if (seen > OMEN_CALIBRATE_QUERIES_MAX) seen = OMEN_CALIBRATE_QUERIES_MAX;
    atomic_fetch_add_explicit(&sample->window, 1, memory_order_relaxed);
    atomic_store_explicit(&sample->start, seen, memory_order_relaxed);
    atomic_store_explicit(&sample->seen, seen, memory_order_relaxed);
}

/* search_pool.c - the search threads and their queue.
 *
 * The queue holds batches; a thread takes the next block of the first one. A batch leaves the queue
 * when its last block is taken, and is finished by whoever finishes its last block. Batches are
 * served in order of arrival; within one, all threads help.
 *
 * A search that wants more than is searchable yet waits beside the queue. Whoever publishes or
 * cancels asks for a look; a thread then moves those that need not wait any more to the queue, also
 * when the first deadline among them has passed.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "engine/memory.h"
#include "engine/search.h"

struct omen_search_pool {
    uint32_t count, started; /* fixed once started */
    pthread_t *threads;

    pthread_mutex_t mutex;
    pthread_cond_t wake;
    /* Under the mutex. */
    bool stop;
    bool look; /* at those that wait */
    struct omen_search_private *first, *last;
    _Atomic bool queues; /* first != NULL; read without the mutex */
    struct omen_search_private *waiting;
    struct omen_search_private *free; /* used before, with their buffers */
};

static void *search_main(void *arg);
static void sort_waiting(struct omen_search_pool *pool);
static void wait_for_work(struct omen_search_pool *pool);
static bool must_wait(const struct omen_search_private *p);

omen_code omen_search_pool_start(uint32_t threads, struct omen_search_pool **out, omen_error *err)
{
    struct omen_search_pool *pool = omen_alloc_zeroed(sizeof *pool);

    *out = NULL;
    if (pool == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the search threads");
    pool->count = threads;
    pool->threads = omen_alloc_zeroed(threads * sizeof *pool->threads);
    (void)pthread_mutex_init(&pool->mutex, NULL);
    pthread_condattr_t monotonic; /* deadlines are */
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&pool->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    while (pool->threads != NULL && pool->started < threads &&
           pthread_create(&pool->threads[pool->started], NULL, search_main, pool) == 0)
        pool->started++;
    if (pool->started != threads) {
        omen_search_pool_stop(pool);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u search threads", threads);
    }
    *out = pool;
    return OMEN_OK;
}

void omen_search_pool_stop(struct omen_search_pool *pool)
{
    if (pool == NULL) return;
    (void)pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    (void)pthread_cond_broadcast(&pool->wake);
    (void)pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->started; i++)
        (void)pthread_join(pool->threads[i], NULL);
    while (pool->free != NULL) {
        struct omen_search_private *p = pool->free;

        pool->free = p->next;
        omen_free(p->plans);
        omen_free(p->results);
        omen_free(p->hits);
        omen_free(p);
    }
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->mutex);
    omen_free(pool->threads);
    omen_free(pool);
}

struct omen_search_private *omen_search_pool_take(struct omen_search_pool *pool)
{
    struct omen_search_private *p;

    (void)pthread_mutex_lock(&pool->mutex);
    p = pool->free;
    if (p != NULL) pool->free = p->next;
    (void)pthread_mutex_unlock(&pool->mutex);
    return p != NULL ? p : omen_alloc_zeroed(sizeof *p);
}

void omen_search_pool_give(struct omen_search_pool *pool, struct omen_search_private *p)
{
    *p = (struct omen_search_private){.plans = p->plans,
                                      .results = p->results,
                                      .query_capacity = p->query_capacity,
                                      .hits = p->hits,
                                      .hit_capacity = p->hit_capacity};
    (void)pthread_mutex_lock(&pool->mutex);
    p->next = pool->free;
    pool->free = p;
    (void)pthread_mutex_unlock(&pool->mutex);
}

/* Under the mutex. */
static void enqueue(struct omen_search_pool *pool, struct omen_search_private *p)
{
    p->next = NULL;
    if (pool->last != NULL)
        pool->last->next = p;
    else
        pool->first = p;
    pool->last = p;
    atomic_store_explicit(&pool->queues, true, memory_order_relaxed);
}

void omen_search_pool_add(struct omen_search_pool *pool, struct omen_search_private *p)
{
    bool waits = must_wait(p);

    if (!waits) omen_search_start(p);
    (void)pthread_mutex_lock(&pool->mutex);
    if (waits) {
        p->next = pool->waiting;
        pool->waiting = p;
        pool->look = true; /* it may have been published since */
    } else {
        enqueue(pool, p);
    }
    if (!waits && p->block_count > 1)
        (void)pthread_cond_broadcast(&pool->wake);
    else
        (void)pthread_cond_signal(&pool->wake);
    (void)pthread_mutex_unlock(&pool->mutex);
}

void omen_search_pool_look(struct omen_search_pool *pool)
{
    if (pool == NULL) return;
    (void)pthread_mutex_lock(&pool->mutex);
    if (pool->waiting != NULL) {
        pool->look = true;
        (void)pthread_cond_signal(&pool->wake);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
}

bool omen_search_pool_queues(struct omen_search_pool *pool)
{
    return atomic_load_explicit(&pool->queues, memory_order_relaxed);
}

static bool must_wait(const struct omen_search_private *p)
{
    const struct omen_search *search = p->search;

    return search->min_position > atomic_load_explicit(&search->collection->published.position,
                                                       memory_order_acquire) &&
           omen_search_check_stop(search, NULL) == OMEN_OK;
}

/* Under the mutex. What was stopped is queued, too: its first block says why. */
static void sort_waiting(struct omen_search_pool *pool)
{
    struct omen_search_private **at = &pool->waiting;

    pool->look = false;
    while (*at != NULL) {
        struct omen_search_private *p = *at;

        if (!pool->stop && must_wait(p)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        omen_search_start(p);
        enqueue(pool, p);
    }
}

/* Under the mutex: until there is a search to run, or the pool stops. */
static void wait_for_work(struct omen_search_pool *pool)
{
    for (;;) {
        uint64_t until = UINT64_MAX;

        if (pool->look || pool->stop) sort_waiting(pool);
        if (pool->first != NULL || pool->stop) return;
        for (struct omen_search_private *p = pool->waiting; p != NULL; p = p->next) {
            if (p->search->deadline_ns != 0 && p->search->deadline_ns < until)
                until = p->search->deadline_ns;
        }
        if (until == UINT64_MAX) {
            (void)pthread_cond_wait(&pool->wake, &pool->mutex);
            continue;
        }
        const struct timespec at = {.tv_sec = (time_t)(until / 1000000000u),
                                    .tv_nsec = (long)(until % 1000000000u)};
        if (pthread_cond_timedwait(&pool->wake, &pool->mutex, &at) == ETIMEDOUT) pool->look = true;
    }
}

static void *search_main(void *arg)
{
    struct omen_search_pool *pool = arg;
    struct omen_searcher *searcher = NULL;

    (void)pthread_setname_np(pthread_self(), "omen-search");
    (void)pthread_mutex_lock(&pool->mutex);
    for (;;) {
        struct omen_search_private *p;
        omen_error err;
        omen_code code = OMEN_OK;
        uint32_t block;

        wait_for_work(pool);
        p = pool->first;
        if (p == NULL) break;
        block = p->next_block++;
        if (p->next_block == p->block_count) {
            pool->first = p->next;
            if (pool->first == NULL) pool->last = NULL;
            atomic_store_explicit(&pool->queues, pool->first != NULL, memory_order_relaxed);
        }
        (void)pthread_mutex_unlock(&pool->mutex);

        if (searcher == NULL) code = omen_searcher_create(&searcher, &err);
        if (code == OMEN_OK && p->snapshot.position < p->search->min_position)
            code = omen_search_check_stop(p->search, &err); /* it did not wait to the end */
        if (code == OMEN_OK && p->snapshot.position < p->search->min_position)
            code = omen_fail(&err, OMEN_UNAVAILABLE, "the engine stops");
        if (code == OMEN_OK) code = omen_search_block(searcher, p, block, &err);
        if (code != OMEN_OK) {
            int none = OMEN_OK;

            if (atomic_compare_exchange_strong(&p->code, &none, (int)code)) p->search->error = err;
        }
        /* Release: the results of this block; acquire: those of all the others. Whoever does not
         * count the last block must not touch *p after counting: it may be freed by then. */
        const uint32_t blocks = p->block_count;
        if (atomic_fetch_add_explicit(&p->blocks_done, 1, memory_order_acq_rel) + 1 == blocks)
            omen_search_finish(p);
        (void)pthread_mutex_lock(&pool->mutex);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    omen_searcher_destroy(searcher);
    return NULL;
}

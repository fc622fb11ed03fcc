/* search_pool.c - the search threads and their queue.
 *
 * The queue holds batches; a thread takes the next block of the first one. A batch leaves the queue
 * when its last block is taken, and is finished by whoever finishes its last block. Batches are
 * served in order of arrival; within one, all threads help.
 */
#include <pthread.h>

#include "engine/memory.h"
#include "engine/search.h"

struct omen_search_pool {
    uint32_t count, started; /* fixed once started */
    pthread_t *threads;

    pthread_mutex_t mutex;
    pthread_cond_t wake;
    /* Under the mutex. */
    bool stop;
    struct omen_search_private *first, *last;
};

static void *search_main(void *arg);

omen_code omen_search_pool_start(uint32_t threads, struct omen_search_pool **out, omen_error *err)
{
    struct omen_search_pool *pool = omen_alloc_zeroed(sizeof *pool);

    *out = NULL;
    if (pool == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the search threads");
    pool->count = threads;
    pool->threads = omen_alloc_zeroed(threads * sizeof *pool->threads);
    (void)pthread_mutex_init(&pool->mutex, NULL);
    (void)pthread_cond_init(&pool->wake, NULL);
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
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->mutex);
    omen_free(pool->threads);
    omen_free(pool);
}

void omen_search_pool_add(struct omen_search_pool *pool, struct omen_search_private *private_)
{
    (void)pthread_mutex_lock(&pool->mutex);
    if (pool->last != NULL)
        pool->last->next = private_;
    else
        pool->first = private_;
    pool->last = private_;
    if (private_->block_count > 1)
        (void)pthread_cond_broadcast(&pool->wake);
    else
        (void)pthread_cond_signal(&pool->wake);
    (void)pthread_mutex_unlock(&pool->mutex);
}

static void *search_main(void *arg)
{
    struct omen_search_pool *pool = arg;
    struct omen_searcher *searcher = NULL;

    (void)pthread_mutex_lock(&pool->mutex);
    for (;;) {
        struct omen_search_private *p;
        omen_error err;
        omen_code code = OMEN_OK;
        uint32_t block;

        while (pool->first == NULL && !pool->stop)
            (void)pthread_cond_wait(&pool->wake, &pool->mutex);
        p = pool->first;
        if (p == NULL) break;
        block = p->next_block++;
        if (p->next_block == p->block_count) {
            pool->first = p->next;
            if (pool->first == NULL) pool->last = NULL;
        }
        (void)pthread_mutex_unlock(&pool->mutex);

        if (searcher == NULL) code = omen_searcher_create(&searcher, &err);
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

/* workers.c - see workers.h. A ring under one lock, which a job of microseconds does not feel.
 *
 * Two threads, so that a graph hash of seconds does not hold up everybody else's CreateCollection.
 */
#include "service/workers.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define THREADS 2u

struct item {
    void (*run)(void *job);
    void *job;
};

struct omen_workers {
    pthread_t threads[THREADS];
    uint32_t thread_count;

    /* Under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct item queue[OMEN_WORKERS_QUEUE_MAX];
    uint32_t first;
    uint32_t count;
    uint32_t admitted;
    bool stopping;
};

static void *work(void *user)
{
    struct omen_workers *workers = user;

    (void)pthread_setname_np(pthread_self(), "omen-work");
    (void)pthread_mutex_lock(&workers->lock);
    for (;;) {
        while (workers->count == 0 && !workers->stopping)
            (void)pthread_cond_wait(&workers->changed, &workers->lock);
        if (workers->count == 0) break;
        struct item item = workers->queue[workers->first];
        workers->first = (workers->first + 1) % OMEN_WORKERS_QUEUE_MAX;
        workers->count--;
        (void)pthread_mutex_unlock(&workers->lock);
        item.run(item.job);
        (void)pthread_mutex_lock(&workers->lock);
    }
    (void)pthread_mutex_unlock(&workers->lock);
    return NULL;
}

struct omen_workers *omen_workers_create(void)
{
    struct omen_workers *workers = calloc(1, sizeof *workers);

    if (workers == NULL) return NULL;
    (void)pthread_mutex_init(&workers->lock, NULL);
    (void)pthread_cond_init(&workers->changed, NULL);
    while (workers->thread_count < THREADS &&
           pthread_create(&workers->threads[workers->thread_count], NULL, work, workers) == 0)
        workers->thread_count++;
    if (workers->thread_count == 0) {
        omen_workers_destroy(workers);
        return NULL;
    }
    return workers;
}

void omen_workers_destroy(struct omen_workers *workers)
{
    if (workers == NULL) return;
    (void)pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    (void)pthread_cond_broadcast(&workers->changed);
    (void)pthread_mutex_unlock(&workers->lock);
    for (uint32_t i = 0; i < workers->thread_count; i++)
        (void)pthread_join(workers->threads[i], NULL);
    (void)pthread_cond_destroy(&workers->changed);
    (void)pthread_mutex_destroy(&workers->lock);
    free(workers);
}

bool omen_workers_admit(struct omen_workers *workers)
{
    bool room = false;

    (void)pthread_mutex_lock(&workers->lock);
    room = workers->admitted < OMEN_WORKERS_QUEUE_MAX;
    if (room) workers->admitted++;
    (void)pthread_mutex_unlock(&workers->lock);
    return room;
}

void omen_workers_leave(struct omen_workers *workers)
{
    (void)pthread_mutex_lock(&workers->lock);
    workers->admitted--;
    (void)pthread_mutex_unlock(&workers->lock);
}

bool omen_workers_submit(struct omen_workers *workers, void (*run)(void *job), void *job)
{
    bool room = false;

    (void)pthread_mutex_lock(&workers->lock);
    room = workers->count < OMEN_WORKERS_QUEUE_MAX;
    if (room) {
        uint32_t last = (workers->first + workers->count) % OMEN_WORKERS_QUEUE_MAX;
        workers->queue[last] = (struct item){run, job};
        workers->count++;
        (void)pthread_cond_signal(&workers->changed);
    }
    (void)pthread_mutex_unlock(&workers->lock);
    return room;
}

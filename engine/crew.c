/* crew.c - see crew.h. */
#include "engine/crew.h"

#include <pthread.h>
#include <stdbool.h>

#include "engine/memory.h"

struct worker {
    omen_crew *crew;
    pthread_t thread;
    uint32_t index;
};

struct omen_crew {
    uint32_t count; /* fixed */
    uint32_t started;
    struct worker *workers;

    pthread_mutex_t mutex;
    pthread_cond_t begin;
    pthread_cond_t end;
    /* All below: under the mutex. */
    uint64_t run; /* number of the current call */
    uint32_t busy;
    bool stop;
    omen_crew_fn *fn;
    void *context;
};

static void *worker_main(void *arg);

omen_code omen_crew_create(uint32_t workers, omen_crew **out, omen_error *err)
{
    omen_crew *crew = omen_alloc_zeroed(sizeof *crew);

    *out = NULL;
    if (crew == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the ingest threads");
    crew->count = workers;
    (void)pthread_mutex_init(&crew->mutex, NULL);
    (void)pthread_cond_init(&crew->begin, NULL);
    (void)pthread_cond_init(&crew->end, NULL);
    crew->workers = omen_alloc_zeroed(workers * sizeof *crew->workers);
    for (uint32_t i = 1; crew->workers != NULL && i < workers; i++) {
        struct worker *w = &crew->workers[i];

        *w = (struct worker){.crew = crew, .index = i};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) break;
        crew->started++;
    }
    if (crew->workers == NULL || crew->started != workers - 1) {
        omen_crew_destroy(crew);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u ingest threads", workers);
    }
    *out = crew;
    return OMEN_OK;
}

void omen_crew_destroy(omen_crew *crew)
{
    if (crew == NULL) return;
    (void)pthread_mutex_lock(&crew->mutex);
    crew->stop = true;
    (void)pthread_cond_broadcast(&crew->begin);
    (void)pthread_mutex_unlock(&crew->mutex);
    for (uint32_t i = 1; i <= crew->started; i++)
        (void)pthread_join(crew->workers[i].thread, NULL);
    (void)pthread_cond_destroy(&crew->end);
    (void)pthread_cond_destroy(&crew->begin);
    (void)pthread_mutex_destroy(&crew->mutex);
    omen_free(crew->workers);
    omen_free(crew);
}

uint32_t omen_crew_workers(const omen_crew *crew)
{
    return crew->count;
}

void omen_crew_run(omen_crew *crew, omen_crew_fn *fn, void *context)
{
    if (crew->count > 1) {
        (void)pthread_mutex_lock(&crew->mutex);
        crew->fn = fn;
        crew->context = context;
        crew->busy = crew->count - 1;
        crew->run++;
        (void)pthread_cond_broadcast(&crew->begin);
        (void)pthread_mutex_unlock(&crew->mutex);
    }
    fn(context, 0);
    if (crew->count > 1) {
        (void)pthread_mutex_lock(&crew->mutex);
        while (crew->busy > 0)
            (void)pthread_cond_wait(&crew->end, &crew->mutex);
        (void)pthread_mutex_unlock(&crew->mutex);
    }
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    omen_crew *crew = self->crew;
    uint64_t seen = 0;

    (void)pthread_setname_np(pthread_self(), "omen-build");
    (void)pthread_mutex_lock(&crew->mutex);
    for (;;) {
        while (!crew->stop && crew->run == seen)
            (void)pthread_cond_wait(&crew->begin, &crew->mutex);
        if (crew->stop) break;
        seen = crew->run;
        (void)pthread_mutex_unlock(&crew->mutex);
        crew->fn(crew->context, self->index); /* fixed until busy is 0 */
        (void)pthread_mutex_lock(&crew->mutex);
        if (--crew->busy == 0) (void)pthread_cond_signal(&crew->end);
    }
    (void)pthread_mutex_unlock(&crew->mutex);
    return NULL;
}

/* background.h - a thread that works now and then, rests in between, and can be told to stop. */
#ifndef OMEN_BACKGROUND_H
#define OMEN_BACKGROUND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

/* All zero: not started. */
struct omen_background {
    pthread_t thread; /* fixed, like the next */
    bool started;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop; /* under the mutex */
};

/* Starts a thread of this name (15 characters) that runs work(user) and ends when a rest says so.
 * Fails: OMEN_RESOURCE_EXHAUSTED, then it is as if it had not been started. */
OMEN_CHECKED omen_code omen_background_start(struct omen_background *background, const char *name,
                                             void *(*work)(void *), void *user, omen_error *err);

/* Tells it to stop, and waits for it. */
void omen_background_stop(struct omen_background *background);

/* Waits so long; 0: only looks. False: the thread shall end. Its own thread only. */
bool omen_background_rest(struct omen_background *background, uint64_t ns);

#endif

/* workers.h - a few threads for calls that may block: creating, dropping, hashing collections; and
 * for the JSON of the HTTP port, which has threads of its own. */
#ifndef OMEN_WORKERS_H
#define OMEN_WORKERS_H

#include <stdbool.h>

#define OMEN_WORKERS_QUEUE_MAX 256u

struct omen_workers;

struct omen_workers *omen_workers_create(void); /* NULL without memory or threads */

/* Runs what is queued, then stops. NULL is allowed. */
void omen_workers_destroy(struct omen_workers *workers);

/* Queues run(job). False when the queue is full. Any thread. */
bool omen_workers_submit(struct omen_workers *workers, void (*run)(void *job), void *job);

#endif

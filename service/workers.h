/* workers.h - a few threads for what may block: there is one set for creating, dropping, hashing
 * collections, one for reading and writing points, one for snapshots, and one for the JSON of the
 * HTTP port.
 */
#ifndef OMEN_WORKERS_H
#define OMEN_WORKERS_H

#include <stdbool.h>

#define OMEN_WORKERS_QUEUE_MAX 256u

struct omen_workers;

struct omen_workers *omen_workers_create(void); /* NULL without memory or threads */

/* Runs what is queued, then stops. NULL is allowed. */
void omen_workers_destroy(struct omen_workers *workers);

/* For jobs that come later, one at a time, for the same piece of work: after a true, one job can
 * always be queued until omen_workers_leave(). Any thread. */
bool omen_workers_admit(struct omen_workers *workers);
void omen_workers_leave(struct omen_workers *workers);

/* Queues run(job). False when the queue is full. Any thread. */
bool omen_workers_submit(struct omen_workers *workers, void (*run)(void *job), void *job);

#endif

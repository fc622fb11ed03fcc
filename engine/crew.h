/* crew.h - the ingest threads: one call runs a function on all of them and waits for the last.
 *
 * The caller is worker 0, so a crew of one starts no thread. Threads sleep between calls. One call
 * at a time; everything written before it is seen by all workers, everything that they write is
 * seen after it (the crew's mutex orders both): a call is a barrier.
 */
#ifndef OMEN_CREW_H
#define OMEN_CREW_H

#include <stdint.h>

#include "engine/engine.h"

typedef struct omen_crew omen_crew;
typedef void omen_crew_fn(void *context, uint32_t worker);

/* Owns: *out. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_crew_create(uint32_t workers, omen_crew **out, omen_error *err);
void omen_crew_destroy(omen_crew *crew); /* NULL is allowed */
uint32_t omen_crew_workers(const omen_crew *crew);
void omen_crew_run(omen_crew *crew, omen_crew_fn *fn, void *context);

#endif

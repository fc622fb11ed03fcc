/* cpus.h - the CPUs that threads run on; what engine.h says of them, and this.
 *
 * A thread starts on its creator's CPUs. So whoever starts the threads of one kind goes onto that
 * kind's CPUs first, and back afterwards; the threads know nothing of it.
 */
#ifndef OMEN_CPUS_H
#define OMEN_CPUS_H

#include "engine/engine.h"

/* How many the calling thread may run on, OMEN_THREADS_MAX at most. */
uint32_t omen_cpus_count(void);

#endif

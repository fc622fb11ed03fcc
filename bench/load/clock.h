/* clock.h - when something happens, and how much CPU time it took whom. */
#ifndef OMEN_LOAD_CLOCK_H
#define OMEN_LOAD_CLOCK_H

#include <stdint.h>

#include "engine/engine.h"

#define OMEN_LOAD_SECOND 1000000000LL
#define OMEN_LOAD_NEVER  INT64_MAX

/* Nanoseconds of the monotonic clock. */
int64_t omen_load_clock_now(void);

/* Returns at `when`, or at once if that is past. */
void omen_load_clock_sleep(int64_t when);

/* Lets this thread wake up when it asked to, not up to 50 us later. */
void omen_load_clock_sharpen(void);

/* Seconds of CPU time, user and system, that this process used so far. */
double omen_load_cpu_own(void);

/* The same of another process on this machine, from /proc/PID/stat, to the kernel's clock tick
 * (10 ms).
 * Fails: OMEN_NOT_FOUND when there is no such process. */
OMEN_CHECKED omen_code omen_load_cpu_of(int pid, double *seconds, omen_error *err);

#endif

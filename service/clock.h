/* clock.h - time that only goes forward. */
#ifndef OMEN_CLOCK_H
#define OMEN_CLOCK_H

#include <stdint.h>
#include <time.h>

#define OMEN_NS_PER_S UINT64_C(1000000000)

/* Nanoseconds of CLOCK_MONOTONIC: what the engine's deadlines are measured by. */
static inline uint64_t omen_clock_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * OMEN_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* So many milliseconds from now, for pthread_cond_timedwait(). */
static inline struct timespec omen_clock_until(uint32_t milliseconds)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return until;
}

#endif

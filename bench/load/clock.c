/* clock.c - see clock.h. Failure mode: a process that has ended has no CPU time to read. */
#include "bench/load/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int64_t omen_load_clock_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * OMEN_LOAD_SECOND + now.tv_nsec;
}

void omen_load_clock_sleep(int64_t when)
{
    struct timespec until = {.tv_sec = when / OMEN_LOAD_SECOND, .tv_nsec = when % OMEN_LOAD_SECOND};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}

void omen_load_clock_sharpen(void)
{
    (void)prctl(PR_SET_TIMERSLACK, 1UL); /* 1 ns */
}

double omen_load_cpu_own(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

omen_code omen_load_cpu_of(int pid, double *seconds, omen_error *err)
{
    omen_code code = OMEN_OK;
    char path[64];
    char line[1024] = "";
    unsigned long long user = 0;
    unsigned long long system = 0;
    FILE *file = NULL;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) {
        code = omen_fail(err, OMEN_NOT_FOUND, "--server-pid %d: no such process here", pid);
        goto done;
    }
    /* The name in parentheses may hold anything, parentheses too: count from the last one. */
    const char *after = strrchr(line, ')');

    if (after == NULL || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                                &user, &system) != 2) {
        code = omen_fail(err, OMEN_INTERNAL, "%s: utime and stime are not where they were", path);
        goto done;
    }
    *seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);

done:
    if (file != NULL) (void)fclose(file);
    return code;
}

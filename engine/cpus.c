/* cpus.c - see cpus.h. */
#include "engine/cpus.h"

#include <ctype.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(cpu_set_t) == sizeof(struct omen_cpus), "room for a set");

static bool read_number(const char **at, unsigned long *out)
{
    char *end = NULL;

    if (!isdigit((unsigned char)**at)) return false;
    *out = strtoul(*at, &end, 10);
    *at = end;
    return *out < CPU_SETSIZE;
}

/* "0-3,8". */
static bool read_list(const char *list, cpu_set_t *out)
{
    CPU_ZERO(out);
    for (const char *at = list;; at++) {
        unsigned long first, last;

        if (!read_number(&at, &first)) return false;
        last = first;
        if (*at == '-') {
            at++;
            if (!read_number(&at, &last) || last < first) return false;
        }
        for (unsigned long cpu = first; cpu <= last; cpu++)
            CPU_SET(cpu, out);
        if (*at == '\0') return true;
        if (*at != ',') return false;
    }
}

/* False: it cannot be had, or only a part of it: the kernel takes what it can of a set, and says
 * nothing of the rest. */
static bool go_to(const cpu_set_t *wanted)
{
    cpu_set_t had;

    return sched_setaffinity(0, sizeof *wanted, wanted) == 0 &&
           sched_getaffinity(0, sizeof had, &had) == 0 && CPU_EQUAL(wanted, &had);
}

omen_code omen_cpus_enter(const char *list, struct omen_cpus *before, omen_error *err)
{
    cpu_set_t now, wanted;

    CPU_ZERO(&now);
    (void)sched_getaffinity(0, sizeof now, &now);
    memcpy(before->bits, &now, sizeof now);
    if (list == NULL || list[0] == '\0') return OMEN_OK;
    if (!read_list(list, &wanted))
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "'%.40s' is no list of CPUs below %d, as \"0-3,8\"", list, CPU_SETSIZE);
    if (go_to(&wanted)) return OMEN_OK;
    omen_cpus_leave(before);
    return omen_fail(err, OMEN_INVALID_ARGUMENT,
                     "'%.40s' has CPUs that this process may not run on, or that are not there",
                     list);
}

void omen_cpus_leave(const struct omen_cpus *before)
{
    cpu_set_t set;

    memcpy(&set, before->bits, sizeof set);
    if (CPU_COUNT(&set) > 0) (void)sched_setaffinity(0, sizeof set, &set);
}

omen_code omen_cpus_check(const char *list, omen_error *err)
{
    struct omen_cpus before;
    omen_code code = omen_cpus_enter(list, &before, err);

    if (code == OMEN_OK) omen_cpus_leave(&before);
    return code;
}

uint32_t omen_cpus_count(void)
{
    cpu_set_t set;
    int n = 0;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    if (n < 1) return 1;
    return n > (int)OMEN_THREADS_MAX ? OMEN_THREADS_MAX : (uint32_t)n;
}

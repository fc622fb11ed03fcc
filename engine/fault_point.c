/* fault_point.c - see fault_point.h. */
#include "engine/fault_point.h"

#ifdef OMEN_FAULT_POINTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void omen_fault_point(const char *name)
{
    static _Atomic long passed;
    const char *wanted = getenv("OMENDB_FAULT_KILL");
    const char *arming = getenv("OMENDB_FAULT_ARMED_BY");
    size_t length = strlen(name);

    if (wanted == NULL || strncmp(wanted, name, length) != 0 || wanted[length] != ':') return;
    if (arming != NULL && access(arming, F_OK) != 0) return;
    if (atomic_fetch_add(&passed, 1) + 1 == strtol(wanted + length + 1, NULL, 10))
        (void)raise(SIGKILL);
}

bool omen_fault_sync(void)
{
    const char *wanted = getenv("OMENDB_FAULT_SYNC_MS");

    if (wanted == NULL) return true;
    if (strcmp(wanted, "off") == 0) return false;
    (void)usleep((useconds_t)strtoul(wanted, NULL, 10) * 1000);
    return true;
}

#else
typedef int omen_fault_point_is_not_built; /* a file must declare something */
#endif

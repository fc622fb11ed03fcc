/* memory_limit.h - how much memory the process may take: what it was told, or a share of what its
 * cgroup, or the machine, has.
 */
#ifndef OMEN_MEMORY_LIMIT_H
#define OMEN_MEMORY_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

/* A limit as it is written: "80%" of what there is, "4GiB", "512MiB", "64KiB", or bytes. */
struct omen_memory_size {
    uint64_t bytes; /* if percent is 0 */
    uint32_t percent;
};
/* False: `text` is no such limit. */
bool omen_memory_size_parse(const char *text, struct omen_memory_size *out);

struct omen_memory_source {
    uint64_t bytes;
    char name[256]; /* the file that says so */
};
/* The smallest limit of the process's cgroup and of those above it, in version 2 and in version 1
 * of cgroups; the machine's memory if that is smaller, or if there is none. `root` is where /proc
 * and /sys are found: "" but for tests. False: nothing could be read. */
bool omen_memory_available(const char *root, struct omen_memory_source *out);

#endif

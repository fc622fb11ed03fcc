/* memory_limit.c - see memory_limit.h.
 *
 * /proc/self/cgroup names the process's groups, one a line, as number:controllers:path; the line of
 * version 2 is 0::path. Their files stand below /sys/fs/cgroup (version 2) and
 * /sys/fs/cgroup/memory (version 1). Inside a container the path may be that of the host, of which
 * nothing is mounted but the container's own group, at the top: so a file that is missing is passed
 * over on the way up, and the top is always looked at. A limit that is larger than the machine is
 * none: version 1 writes 2^63 or so.
 */
#include "service/memory_limit.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4352u
#define LINE_BYTES 4096u

bool omen_memory_size_parse(const char *text, struct omen_memory_size *out)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
    char *end = NULL;

    *out = (struct omen_memory_size){0};
    errno = 0;
    const unsigned long long number =
        isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    if (end == NULL || errno != 0 || number == 0) return false;
    if (strcmp(end, "%") == 0) {
        out->percent = number <= 100 ? (uint32_t)number : 0;
        return out->percent > 0;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].unit) != 0) continue;
        out->bytes = (uint64_t)number << units[i].shift;
        return out->bytes >> units[i].shift == number;
    }
    return false;
}

/* The number that a file begins with; false if there is none, as in "max". */
static bool read_number(const char *path, uint64_t *out)
{
    char text[64] = "";
    char *end = NULL;
    FILE *file = fopen(path, "re");

    if (file == NULL) return false;
    const size_t length = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[length] = '\0';
    if (!isdigit((unsigned char)text[0])) return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && (*end == '\n' || *end == '\0');
}

static void take_smaller(struct omen_memory_source *out, uint64_t bytes, const char *name)
{
    if (bytes >= out->bytes) return;
    out->bytes = bytes;
    (void)snprintf(out->name, sizeof out->name, "%s", name);
}

/* From the group up to the top, `file` of each. Changes `group`. */
static void walk_up(const char *root, const char *mount, char *group, const char *file,
                    struct omen_memory_source *out)
{
    char path[PATH_BYTES];
    uint64_t bytes = 0;

    for (;;) {
        char *slash = strrchr(group, '/');

        (void)snprintf(path, sizeof path, "%s%s%s/%s", root, mount,
                       strcmp(group, "/") == 0 ? "" : group, file);
        if (read_number(path, &bytes)) take_smaller(out, bytes, path + strlen(root));
        if (slash == NULL || group[0] == '\0' || strcmp(group, "/") == 0) return;
        *(slash == group ? slash + 1 : slash) = '\0';
    }
}

static bool names_memory(const char *controllers)
{
    const char *at = controllers;

    while (*at != '\0') {
        const size_t length = strcspn(at, ",");

        if (length == 6 && strncmp(at, "memory", 6) == 0) return true;
        at += length + (at[length] == ',');
    }
    return false;
}

static void read_groups(const char *root, struct omen_memory_source *out)
{
    char path[PATH_BYTES];
    char line[LINE_BYTES];

    (void)snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');

        if (group == NULL) continue;
        *group++ = '\0';
        controllers++;
        group[strcspn(group, "\n")] = '\0';
        if (group[0] != '/') continue;
        if (controllers[0] == '\0')
            walk_up(root, "/sys/fs/cgroup", group, "memory.max", out);
        else if (names_memory(controllers))
            walk_up(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", out);
    }
    (void)fclose(file);
}

static void read_machine(const char *root, struct omen_memory_source *out)
{
    char path[PATH_BYTES];
    char line[LINE_BYTES];
    uint64_t kib = 0;

    (void)snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemTotal: %" SCNu64 " kB", &kib) != 1) continue;
        take_smaller(out, kib << 10, "/proc/meminfo");
        break;
    }
    (void)fclose(file);
}

bool omen_memory_available(const char *root, struct omen_memory_source *out)
{
    *out = (struct omen_memory_source){.bytes = UINT64_MAX};
    read_machine(root, out);
    read_groups(root, out);
    return out->bytes != UINT64_MAX;
}

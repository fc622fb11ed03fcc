/* storage_memory.h - a storage in memory that fails as it is told: refused calls, short writes, no
 * room, and power loss. For tests, and deterministic from its seed.
 *
 * It keeps each file twice, as it is and as the disk has it, with what was written in between. When
 * power goes, each sector of 512 bytes comes back, independently of all others, as it was at some
 * moment since the file's last sync: so writes are lost, reordered and torn. A file comes back with
 * a size that it had since then, and a directory with any of the changes since its own last sync.
 * What was synced comes back as it was.
 *
 * Directories that are made here are entries of others, as files are. The first of a path is the
 * file system's own where there is such a one; else its path is only a name. It must not outlive a
 * directory of the file system that is removed: another one could take its inode.
 *
 * Threads: any; calls exclude each other.
 */
#ifndef OMEN_STORAGE_MEMORY_H
#define OMEN_STORAGE_MEMORY_H

#include "engine/storage.h"

enum omen_storage_call {
    OMEN_STORAGE_OPEN = 1u << 0,
    OMEN_STORAGE_WRITE = 1u << 1,
    OMEN_STORAGE_SYNC = 1u << 2,
    OMEN_STORAGE_TRUNCATE = 1u << 3,
    OMEN_STORAGE_RENAME = 1u << 4,
    OMEN_STORAGE_REMOVE = 1u << 5,
    OMEN_STORAGE_READ = 1u << 6,
    OMEN_STORAGE_ALLOCATE = 1u << 7,
    OMEN_STORAGE_CHANGES = 0xbe /* those that change something, but for creating */
};

/* Calls are counted from when the faults are set: 1 is the next one, 0 is never. */
struct omen_storage_faults {
    uint64_t cut_at;      /* power goes during this one of OMEN_STORAGE_CHANGES */
    uint64_t fail_at;     /* this one of fail_calls fails, once, with fail_errno */
    unsigned fail_calls;  /* a set of omen_storage_call */
    int fail_errno;       /* such as ENOSPC */
    bool short_transfers; /* reads and writes now and then do less than was asked */
};

/* Owns: *out. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_storage_memory_create(uint64_t seed, struct omen_storage **out,
                                                  omen_error *err);
void omen_storage_memory_destroy(struct omen_storage *storage); /* NULL is allowed */

void omen_storage_memory_set_faults(struct omen_storage *storage,
                                    const struct omen_storage_faults *faults);

/* So many bytes, in blocks of 4 KiB, may all files take together; without a limit at first. Writes
 * and allocations that need more fail with ENOSPC, a write after as much as fits. */
void omen_storage_memory_set_room(struct omen_storage *storage, uint64_t bytes);
uint64_t omen_storage_memory_used(struct omen_storage *storage);

/* How many calls of OMEN_STORAGE_CHANGES there were since the faults were set. */
uint64_t omen_storage_memory_changes(struct omen_storage *storage);

/* Whether power went at cut_at: since then every call fails with EIO. */
bool omen_storage_memory_is_dead(struct omen_storage *storage);

/* Takes the power away, if it is there, and gives it back: what was not synced is there in part,
 * handles are good for closing only, and there are no faults any more.
 * Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_storage_memory_restart(struct omen_storage *storage, omen_error *err);

/* The bytes of a file, to look at and to damage: as they are, and not what is left after a power
 * cut. NULL if it is not there. Borrowed until the next call of anything on the storage. */
unsigned char *omen_storage_memory_bytes(struct omen_storage *storage, const char *path,
                                         const char *name, size_t *size);

#endif

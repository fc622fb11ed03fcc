/* offline.h - a data directory that no server has open: what verify.c and recover.c share. */
#ifndef OMEN_OFFLINE_H
#define OMEN_OFFLINE_H

#include "engine/directory.h"
#include "engine/engine.h"
#include "engine/storage.h"

struct omen_offline {
    struct omen_storage *storage;
    const char *data_dir; /* borrowed */
    int dir;              /* the storage's */
    int lock;
    omen_offline_fn *tell;
    void *user;
    struct omen_offline_report *report;
};

/* Opens the directory and keeps servers out, without changing anything in it.
 * Owns:  *offline, release it with omen_offline_close(), also after a failure.
 * Fails: OMEN_NOT_FOUND, OMEN_FAILED_PRECONDITION, OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_offline_open(struct omen_offline *offline, const char *data_dir,
                                         omen_error *err);
void omen_offline_close(struct omen_offline *offline);

/* Calls visit with the name of each collection's directory, by name.
 * Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED, and as visit does. */
OMEN_CHECKED omen_code omen_offline_visit(struct omen_offline *offline,
                                          omen_code (*visit)(void *user, const char *name,
                                                             omen_error *err),
                                          void *user, omen_error *err);

/* The same with the name of each snapshot's file, and their folder; nothing if there is none. */
OMEN_CHECKED omen_code omen_offline_visit_snapshots(struct omen_offline *offline,
                                                    omen_code (*visit)(void *user, int dir,
                                                                       const char *name,
                                                                       omen_error *err),
                                                    void *user, omen_error *err);

/* Copies a file, holes as holes, and syncs it. Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_offline_copy(struct omen_offline *offline, int from, int to,
                                         const char *name, omen_error *err);

/* Tells of every damage in a snapshot.
 * Fails: OMEN_DATA_LOSS (it has some), OMEN_UNIMPLEMENTED, OMEN_UNAVAILABLE,
 *        OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_offline_check_snapshot(struct omen_offline *offline, int dir,
                                                   const char *name, uint64_t *bytes,
                                                   omen_error *err);

/* Tells of damage, and counts it; and of something else. */
OMEN_PRINTF(2, 3) void omen_offline_damage(struct omen_offline *offline, const char *format, ...);
OMEN_PRINTF(2, 3) void omen_offline_note(struct omen_offline *offline, const char *format, ...);

#endif

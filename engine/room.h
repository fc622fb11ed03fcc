/* room.h - is there room on the disk for writes? One answer for a data directory.
 *
 * Writes stop before the disk's last byte: while less than a reserve is free, chunks and openings
 * of streams are refused, and the log thread's own small records (CLOSE, EXPIRE, CHECKPOINT) go
 * into the reserve. They start again when a quarter of the reserve more is free: the two marks keep
 * a server from changing its mind with every chunk. Where a call fails for lack of room although
 * there seemed to be some (a quota, others on the disk, inodes), nothing is tried until a trial
 * file could be written.
 *
 * Nobody has to ask: while writes are refused the log thread looks again and again, after 0.1 s,
 * then more and more seldom, every 2 s at last.
 *
 * What is refused here was never in a log, so replicas need not agree on it.
 */
#ifndef OMEN_ROOM_H
#define OMEN_ROOM_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/storage.h"

enum omen_room_level {
    OMEN_ROOM_FOR_ALL,
    OMEN_ROOM_RESERVED, /* for the log thread's own records only */
    OMEN_ROOM_FOR_NONE  /* these failed, too */
};

struct omen_room {
    /* Fixed once it is initialised. */
    struct omen_storage *storage; /* borrowed */
    int dir;
    uint64_t reserve;

    /* The log thread's. */
    uint64_t probe_at_ns; /* CLOCK_MONOTONIC; when to look again */
    uint32_t pause_ms;

    /* Written by the log thread, read by any. */
    _Atomic int level; /* enum omen_room_level */
    pthread_mutex_t mutex;
    omen_error why; /* under the mutex: valid unless there is room for all */
};

void omen_room_init(struct omen_room *room, struct omen_storage *storage, int dir,
                    uint64_t reserve);
void omen_room_deinit(struct omen_room *room);

static inline enum omen_room_level omen_room_level(const struct omen_room *room)
{
    return (enum omen_room_level)atomic_load_explicit(&room->level, memory_order_acquire);
}

/* OMEN_OK while there is room for all, else why there is not: OMEN_RESOURCE_EXHAUSTED DISK_FULL
 * with figures. Any thread. */
OMEN_CHECKED omen_code omen_room_refusal(struct omen_room *room, omen_error *err);

/* The log thread is about to take so many bytes of the disk; *spare is how many more it might.
 * Fails as omen_room_refusal(); then, perhaps, from here on. */
OMEN_CHECKED omen_code omen_room_check(struct omen_room *room, uint64_t bytes, uint64_t *spare,
                                       omen_error *err);

/* A call of the log thread's found no room. `own`: it was for one of its own records. */
void omen_room_note(struct omen_room *room, const omen_error *failure, bool own);

/* In how many nanoseconds it is time to look again; UINT64_MAX: there is room. The log thread. */
uint64_t omen_room_probe_in_ns(const struct omen_room *room);

/* Looks whether there is room again, if it is time; true when there is. The log thread, which holds
 * nothing: this writes to the disk. */
bool omen_room_probe(struct omen_room *room);

/* What is free now, 0 if that cannot be told. Any thread. */
uint64_t omen_room_free_bytes(const struct omen_room *room);

#endif

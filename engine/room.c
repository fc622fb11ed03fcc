/* room.c - see room.h. */
#include "engine/room.h"

#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "engine/clock.h"

#define PAUSE_MS_MIN 20u
#define PAUSE_MS_MAX 2000u
#define TRIAL        ".room"
#define TRIAL_BYTES  (64u << 10)

static uint64_t resume_mark(const struct omen_room *room)
{
    return room->reserve + room->reserve / 4;
}

void omen_room_init(struct omen_room *room, struct omen_storage *storage, int dir, uint64_t reserve)
{
    *room = (struct omen_room){.storage = storage, .dir = dir, .reserve = reserve};
    (void)pthread_mutex_init(&room->mutex, NULL);
}

void omen_room_deinit(struct omen_room *room)
{
    (void)pthread_mutex_destroy(&room->mutex);
}

uint64_t omen_room_free_bytes(const struct omen_room *room)
{
    const int64_t bytes = room->storage->ops->free_bytes(room->storage, room->dir);

    return bytes < 0 ? 0 : (uint64_t)bytes;
}

omen_code omen_room_refusal(struct omen_room *room, omen_error *err)
{
    if (omen_room_level(room) == OMEN_ROOM_FOR_ALL) return OMEN_OK;
    if (err != NULL) {
        (void)pthread_mutex_lock(&room->mutex);
        *err = room->why;
        (void)pthread_mutex_unlock(&room->mutex);
    }
    return OMEN_RESOURCE_EXHAUSTED;
}

/* `why` is what clients hear until there is room again. */
static void refuse_from_now(struct omen_room *room, enum omen_room_level level,
                            const omen_error *why)
{
    (void)pthread_mutex_lock(&room->mutex);
    room->why = *why;
    (void)pthread_mutex_unlock(&room->mutex);
    if (omen_room_level(room) == OMEN_ROOM_FOR_ALL) room->pause_ms = PAUSE_MS_MIN;
    room->probe_at_ns = omen_now_ns() + room->pause_ms * UINT64_C(1000000);
    atomic_store_explicit(&room->level, (int)level, memory_order_release);
}

omen_code omen_room_check(struct omen_room *room, uint64_t bytes, uint64_t *spare, omen_error *err)
{
    const enum omen_room_level level = omen_room_level(room);
    omen_error why;

    *spare = 0;
    if (level != OMEN_ROOM_FOR_ALL) return omen_room_refusal(room, err);
    const uint64_t free = omen_room_free_bytes(room);
    if (free >= room->reserve && free - room->reserve >= bytes) {
        *spare = free - room->reserve - bytes;
        return OMEN_OK;
    }
    const omen_code code = omen_fail_because(&why, OMEN_RESOURCE_EXHAUSTED, OMEN_REASON_DISK_FULL,
                                             "the disk has %" PRIu64 " bytes free, and %" PRIu64
                                             " stay in reserve: the write needs %" PRIu64
                                             "; writes go on when %" PRIu64 " are free",
                                             free, room->reserve, bytes, resume_mark(room));
    why.figures = (struct omen_figures){.used = free, .limit = room->reserve, .needed = bytes};
    why.retry_ms = PAUSE_MS_MAX;
    refuse_from_now(room, OMEN_ROOM_RESERVED, &why);
    if (err != NULL) *err = why;
    return code;
}

void omen_room_note(struct omen_room *room, const omen_error *failure, bool own)
{
    const bool none = own || omen_room_level(room) == OMEN_ROOM_FOR_NONE;
    omen_error why;

    (void)!omen_fail_because(
        &why, OMEN_RESOURCE_EXHAUSTED, OMEN_REASON_DISK_FULL,
        "the disk is full (%.160s): writes go on by themselves when there is room",
        failure->message);
    why.figures = (struct omen_figures){.used = omen_room_free_bytes(room), .limit = room->reserve};
    why.retry_ms = PAUSE_MS_MAX;
    refuse_from_now(room, none ? OMEN_ROOM_FOR_NONE : OMEN_ROOM_RESERVED, &why);
}

/* What the file system says it has may not be ours to take. */
static bool can_write(const struct omen_room *room)
{
    static unsigned char bytes[TRIAL_BYTES];
    struct omen_storage *storage = room->storage;
    struct iovec part = {bytes, sizeof bytes};
    uint64_t offset = 0;
    const int file = storage->ops->open(storage, room->dir, TRIAL, O_RDWR | O_CREAT | O_TRUNC);

    if (file < 0) return false;
    const omen_code code = omen_storage_write_all(storage, file, &part, 1, &offset, NULL);
    storage->ops->close(storage, file);
    return storage->ops->remove(storage, room->dir, TRIAL) == 0 && code == OMEN_OK;
}

uint64_t omen_room_probe_in_ns(const struct omen_room *room)
{
    const uint64_t now = omen_now_ns();

    if (omen_room_level(room) == OMEN_ROOM_FOR_ALL) return UINT64_MAX;
    return now < room->probe_at_ns ? room->probe_at_ns - now : 0;
}

bool omen_room_probe(struct omen_room *room)
{
    const uint64_t now = omen_now_ns();

    if (omen_room_level(room) == OMEN_ROOM_FOR_ALL || now < room->probe_at_ns) return false;
    if (omen_room_free_bytes(room) >= resume_mark(room) && can_write(room)) {
        atomic_store_explicit(&room->level, (int)OMEN_ROOM_FOR_ALL, memory_order_release);
        return true;
    }
    room->pause_ms = 2 * room->pause_ms > PAUSE_MS_MAX ? PAUSE_MS_MAX : 2 * room->pause_ms;
    room->probe_at_ns = now + room->pause_ms * UINT64_C(1000000);
    return false;
}

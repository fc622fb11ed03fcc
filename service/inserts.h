/* inserts.h - what the open insert streams share: the memory that their points may take together,
 * their clock, and their end when the server shuts down.
 *
 * A stream says after every look at the engine how much of it is in memory, since it is not
 * admitted yet, and asks before every read. While the streams together hold more than the budget,
 * those that ask are put in a queue, and are told when it is their turn.
 *
 * A stream is told things by its `nudge`, on the timekeeper's thread or on that of
 * omen_inserts_drain(), until omen_inserts_leave() has returned. It may look at the engine and may
 * call omen_inserts_account() and omen_inserts_may_read(), but neither join nor leave.
 */
#ifndef OMEN_INSERTS_H
#define OMEN_INSERTS_H

#include <stdbool.h>
#include <stdint.h>

#include "service/config.h"

struct omen_inserts;

enum omen_insert_nudge {
    OMEN_NUDGE_TICK, /* about once a second: look at the clock */
    OMEN_NUDGE_ROOM, /* may read now */
    OMEN_NUDGE_DRAIN /* the server shuts down */
};

/* One stream's place; zero before it joins. */
struct omen_insert_entry {
    void (*nudge)(struct omen_insert_entry *entry, enum omen_insert_nudge nudge);

    /* inserts.c's */
    struct omen_insert_entry *previous;
    struct omen_insert_entry *next;
    struct omen_insert_entry *next_waiting;
    bool waiting;
    uint64_t bytes;
};

struct omen_inserts *omen_inserts_create(const struct omen_config *config); /* NULL: no memory */
void omen_inserts_destroy(struct omen_inserts *inserts);                    /* NULL is allowed */

/* True unless the server drains: then the stream has joined, but must end. */
bool omen_inserts_join(struct omen_inserts *inserts, struct omen_insert_entry *entry);
void omen_inserts_leave(struct omen_inserts *inserts, struct omen_insert_entry *entry);

/* The stream has so many bytes that are not admitted. Any thread, one at a time per entry. */
void omen_inserts_account(struct omen_inserts *inserts, struct omen_insert_entry *entry,
                          uint64_t bytes);
/* False: there is no room now, and a nudge will come. */
bool omen_inserts_may_read(struct omen_inserts *inserts, struct omen_insert_entry *entry);

/* What a stream that holds `bytes` is advised to keep unacknowledged; `room`: as the engine has it
 * for the stream. */
uint32_t omen_inserts_credit(const struct omen_inserts *inserts, uint64_t bytes, bool room);
uint64_t omen_inserts_bytes(const struct omen_inserts *inserts); /* of all streams */
uint64_t omen_inserts_bytes_max(const struct omen_inserts *inserts);

uint64_t omen_inserts_max_age_ns(const struct omen_inserts *inserts); /* UINT64_MAX: none */
uint64_t omen_inserts_heartbeat_ns(const struct omen_inserts *inserts);

/* Refuses new streams, tells the open ones, and waits for their end, at most so long. */
void omen_inserts_drain(struct omen_inserts *inserts, uint32_t milliseconds);

#endif

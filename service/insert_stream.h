/* insert_stream.h - one Insert call between its client and the engine's stream: what both of its
 * files share. methods_insert.c takes what comes from the client, insert_stream.c decides what
 * happens next and writes what goes to the client.
 */
#ifndef OMEN_INSERT_STREAM_H
#define OMEN_INSERT_STREAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/decode.h"
#include "service/fault.h"
#include "service/inserts.h"
#include "service/listener.h"
#include "service/reply.h"

struct omen_metrics;

struct omen_insert_stream {
    struct omen_insert_entry entry; /* inserts.h's; first, so that a nudge finds the stream */

    /* Fixed at start. */
    omen_call *call;
    struct omen_inserts *all;
    struct omen_metrics *metrics;
    uint64_t started_ns;

    /* The poller's, fixed once the stream is open. */
    omen_collection *collection;
    struct omen_insert_open open;
    struct omen_collection_info info;

    /* Under `lock`: omen_insert_stream_pump() on the poller, on engine threads, by nudges. */
    pthread_mutex_t lock;
    omen_stream *stream; /* NULL until Open */
    bool reading;        /* a read is posted, or its message is being worked on */
    bool working;        /* the latter */
    bool turn;           /* may read although others wait */
    bool writing;
    bool ended; /* the status is on its way */
    bool opened_sent;
    bool half_closed;
    bool ack_wanted;                 /* a Flush, silence, or more item errors than one Ack holds */
    enum omen_drain_reason draining; /* 0: not */
    bool drain_sent;
    uint64_t durable_told; /* by the last Ack */
    uint64_t searchable_told;
    uint64_t written_ns; /* when the last answer was started */
    struct omen_fault fault;
};

/* Starts whatever may be started: the next read, an answer, the end. Under the lock. */
void omen_insert_stream_pump_locked(struct omen_insert_stream *insert);
void omen_insert_stream_pump(struct omen_insert_stream *insert);

/* The registry's nudge. */
void omen_insert_stream_nudge(struct omen_insert_entry *entry, enum omen_insert_nudge nudge);

#endif

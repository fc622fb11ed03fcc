/* stream.h - the inside of a stream: one writer's view of a session.
 *
 * The client's thread pushes, the log thread admits, the applier publishes; all meet under the
 * stream's mutex, held for a few assignments. Events are calls without the mutex, one at a time:
 * whoever finds a call running leaves a note (`again`) and the running one repeats it.
 */
#ifndef OMEN_STREAM_H
#define OMEN_STREAM_H

#include "engine/engine.h"

uint32_t omen_stream_dim(const omen_stream *stream);
void omen_stream_retain(omen_stream *stream);
void omen_stream_release(omen_stream *stream); /* NULL is allowed */

/* The stream takes nothing more and says why. The first reason stays. */
void omen_stream_kill(omen_stream *stream, omen_code code, const omen_error *why);
bool omen_stream_is_dead(omen_stream *stream);

/* Where a session stands when its stream is opened. */
struct omen_stream_opening {
    uint64_t generation;
    uint64_t last_seq;
    bool searchable; /* everything up to last_seq is */
    uint64_t errors_from_seq;
    const struct omen_item_error *errors; /* borrowed */
    uint32_t error_count;
};
/* Log thread: the OPEN record was admitted. False: no memory, nothing changed. */
bool omen_stream_opened(omen_stream *stream, const struct omen_stream_opening *opening);

/* Log thread: a chunk is durable; takes over the array of its errors (heap, may be NULL).
 * False: no memory for them, nothing was taken. */
bool omen_stream_durable(omen_stream *stream, uint64_t seq, uint64_t position,
                         struct omen_item_error *errors, uint32_t error_count);

/* Applier: everything up to seq is published, and `bytes` have left the backlog. */
void omen_stream_searchable(omen_stream *stream, uint64_t seq, uint64_t bytes);

/* Log thread: a chunk of so many bytes is in memory no more, whether it was admitted or not. */
void omen_stream_freed(omen_stream *stream, uint64_t bytes);

/* Log thread: `bytes` left the backlog unadmitted. */
void omen_stream_dropped(omen_stream *stream, uint64_t bytes);

/* Calls the event callback if there was news since its last call, or if the stream waited for room
 * that is there now. */
void omen_stream_notify(omen_stream *stream);

/* The list of a collection's open streams, and the round of notices that a stream has had; under
 * the queues' mutex (ingest.c). */
omen_stream **omen_stream_next(omen_stream *stream);
uint64_t *omen_stream_round(omen_stream *stream);

/* What the log thread has to do. Made by streams, queued in ingest.c. */
enum omen_pending_kind {
    OMEN_PENDING_OPEN,
    OMEN_PENDING_CHUNK,
    OMEN_PENDING_CLOSED,
    OMEN_PENDING_SETTINGS
};
struct omen_pending {
    struct omen_pending *next;
    enum omen_pending_kind kind;
    omen_stream *stream; /* counted; SETTINGS: NULL */
    omen_chunk *chunk;   /* CHUNK only */
    const void *payload; /* SETTINGS only: the record's, of whoever waits for it */
    size_t payload_bytes;
    bool *admitted; /* SETTINGS only: set once it is */
    bool *done; /* SETTINGS only: set under the queues' mutex, when nothing here is needed more */
    uint64_t bytes;    /* of a chunk */
    bool receipted;    /* CHUNK: it was admitted, and its epoch's receipt answers for its bytes */
    uint64_t points;   /* that may need a slot */
    uint64_t position; /* of its record, once written */
    struct omen_open_payload {
        uint8_t session_id[OMEN_SESSION_ID_BYTES];
        uint64_t errors_seen_seq; /* not in records of algorithm version 1 */
    } open;                       /* OPEN: the record's payload; CLOSED: the session */
};
#define OMEN_OPEN_RECORD_BYTES 64u /* at most */
_Static_assert(sizeof(struct omen_open_payload) == OMEN_SESSION_ID_BYTES + 8, "no padding");
/* The CLOSED entry lives in the stream, so that ending one needs no memory. */
struct omen_pending *omen_stream_closing(omen_stream *stream);

#endif

/* session.h - the session table: which stream of a client is the current one, and how far it is.
 *
 * Part of the state that the log determines: a session is made by an OPEN record, whose position is
 * its generation; a chunk is admitted if and only if its generation is the session's and its seq is
 * the session's last + 1. At most OMEN_SESSIONS_MAX are remembered; beyond that the one whose last
 * record is oldest is forgotten, which the log decides, too, and so are those that were idle for
 * OMEN_SESSION_IDLE_S by the log's clock (EXPIRE records). ADMIT's thread only.
 *
 * A session keeps its latest item errors, for a client that resumes without having seen them: at
 * most OMEN_SESSION_ERRORS_MAX, and OMEN_COLLECTION_ERRORS_MAX of all sessions together; beyond,
 * those of the oldest chunks are forgotten.
 */
#ifndef OMEN_SESSION_H
#define OMEN_SESSION_H

#include "engine/engine.h"

struct omen_session {
    uint8_t id[OMEN_SESSION_ID_BYTES];
    uint64_t generation;
    uint64_t last_seq;
    uint32_t last_epoch;            /* in which last_seq was admitted */
    uint32_t touched_s;             /* the log's clock at its last record */
    uint64_t errors_from_seq;       /* those of chunks before are seen or forgotten; 0: none yet */
    struct omen_item_error *errors; /* ascending by seq */
    uint32_t error_count, error_capacity;
    omen_stream *stream; /* the live one, counted; not part of the logged state */
    struct omen_session *older, *newer;
};

struct omen_sessions {
    void *tree; /* tsearch(3) */
    uint32_t count;
    uint32_t error_count; /* of all sessions */
    struct omen_session *oldest, *newest;
};

void omen_sessions_deinit(struct omen_sessions *sessions);

/* NULL when it is not there. */
struct omen_session *omen_session_find(const struct omen_sessions *sessions, const uint8_t *id);

/* Finds it or makes it; it becomes the newest, touched at `now_s`. A session that has to go for it
 * loses its stream (the stream dies). Fails: OMEN_RESOURCE_EXHAUSTED, table unchanged. */
OMEN_CHECKED omen_code omen_session_touch(struct omen_sessions *sessions, const uint8_t *id,
                                          uint32_t now_s, struct omen_session **out,
                                          omen_error *err);

/* Keeps a copy of a chunk's item errors, and forgets older ones where there is no room. Fails:
 * OMEN_RESOURCE_EXHAUSTED, nothing changed. */
OMEN_CHECKED omen_code omen_session_keep_errors(struct omen_sessions *sessions,
                                                struct omen_session *session,
                                                const struct omen_item_error *errors,
                                                uint32_t count, omen_error *err);

/* The client has the item errors of chunks up to `seq`. */
void omen_session_forget_errors(struct omen_sessions *sessions, struct omen_session *session,
                                uint64_t seq);

/* Forgets the sessions that were idle for OMEN_SESSION_IDLE_S. */
void omen_sessions_expire(struct omen_sessions *sessions, uint32_t now_s);

/* Lets go of the session's stream, if it is this one. */
void omen_session_forget_stream(struct omen_session *session, const omen_stream *stream);

#endif

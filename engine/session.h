/* session.h - the session table: which stream of a client is the current one, and how far it is.
 *
 * Part of the state that the log determines: a session is made by an OPEN record, whose position is
 * its generation; a chunk is admitted if and only if its generation is the session's and its seq is
 * the session's last + 1. At most OMEN_SESSIONS_MAX are remembered; beyond that the one whose last
 * record is oldest is forgotten, which the log decides, too. ADMIT's thread only.
 */
#ifndef OMEN_SESSION_H
#define OMEN_SESSION_H

#include "engine/engine.h"

struct omen_session {
    uint8_t id[OMEN_SESSION_ID_BYTES];
    uint64_t generation;
    uint64_t last_seq;
    uint32_t last_epoch; /* in which last_seq was admitted */
    omen_stream *stream; /* the live one, counted; not part of the logged state */
    struct omen_session *older, *newer;
};

struct omen_sessions {
    void *tree; /* tsearch(3) */
    uint32_t count;
    struct omen_session *oldest, *newest;
};

void omen_sessions_deinit(struct omen_sessions *sessions);

/* NULL when it is not there. */
struct omen_session *omen_session_find(const struct omen_sessions *sessions, const uint8_t *id);

/* Finds it or makes it; it becomes the newest. A session that has to go for it loses its stream
 * (the stream dies). Fails: OMEN_RESOURCE_EXHAUSTED, table unchanged. */
OMEN_CHECKED omen_code omen_session_touch(struct omen_sessions *sessions, const uint8_t *id,
                                          struct omen_session **out, omen_error *err);

/* Lets go of the session's stream, if it is this one. */
void omen_session_forget_stream(struct omen_session *session, const omen_stream *stream);

#endif

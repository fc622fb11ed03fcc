/* session.c - see session.h. The tree is libc's; the order of age is a list through the sessions.
 */
#include "engine/session.h"

#include <search.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/stream.h"

_Static_assert(OMEN_SESSIONS_MAX == 10000u, "a sentence below says so");

static int compare(const void *a, const void *b);
static void unlist(struct omen_sessions *sessions, struct omen_session *session);
static void list_newest(struct omen_sessions *sessions, struct omen_session *session);
static void remove_session(struct omen_sessions *sessions, struct omen_session *session,
                           const char *why);

void omen_sessions_deinit(struct omen_sessions *sessions)
{
    while (sessions->oldest != NULL)
        remove_session(sessions, sessions->oldest, "the collection is closed");
}

struct omen_session *omen_session_find(const struct omen_sessions *sessions, const uint8_t *id)
{
    struct omen_session key;
    void *node;

    memcpy(key.id, id, sizeof key.id);
    node = tfind(&key, &sessions->tree, compare);
    return node == NULL ? NULL : *(struct omen_session **)node;
}

omen_code omen_session_touch(struct omen_sessions *sessions, const uint8_t *id, uint32_t now_s,
                             struct omen_session **out, omen_error *err)
{
    struct omen_session *session = omen_session_find(sessions, id);

    if (session != NULL) {
        unlist(sessions, session);
        list_newest(sessions, session);
        session->touched_s = now_s;
        *out = session;
        return OMEN_OK;
    }
    session = omen_alloc_zeroed(sizeof *session);
    if (session == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a session");
    memcpy(session->id, id, sizeof session->id);
    if (tsearch(session, &sessions->tree, compare) == NULL) {
        omen_free(session);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a session");
    }
    list_newest(sessions, session);
    session->touched_s = now_s;
    if (++sessions->count > OMEN_SESSIONS_MAX)
        remove_session(sessions, sessions->oldest, "more than 10,000 others were opened");
    *out = session;
    return OMEN_OK;
}

void omen_session_forget_stream(struct omen_session *session, const omen_stream *stream)
{
    if (session->stream != stream || stream == NULL) return;
    omen_stream_release(session->stream);
    session->stream = NULL;
}

omen_code omen_session_keep_errors(struct omen_sessions *sessions, struct omen_session *session,
                                   const struct omen_item_error *errors, uint32_t count,
                                   omen_error *err)
{
    uint32_t needed = session->error_count + count;

    if (needed > session->error_capacity) {
        uint32_t capacity = needed < 16 ? 16 : needed + needed / 2;
        struct omen_item_error *more = omen_realloc(session->errors, capacity * sizeof *more);

        if (more == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u item errors of a session", capacity);
        session->errors = more;
        session->error_capacity = capacity;
    }
    if (count > 0) memcpy(session->errors + session->error_count, errors, count * sizeof *errors);
    session->error_count += count;
    sessions->error_count += count;
    if (session->error_count > OMEN_SESSION_ERRORS_MAX) {
        uint32_t last_to_go = session->error_count - OMEN_SESSION_ERRORS_MAX - 1;

        omen_session_forget_errors(sessions, session, session->errors[last_to_go].seq);
    }
    for (struct omen_session *s = sessions->oldest;
         s != NULL && sessions->error_count > OMEN_COLLECTION_ERRORS_MAX; s = s->newer)
        omen_session_forget_errors(sessions, s, s->last_seq);
    return OMEN_OK;
}

void omen_session_forget_errors(struct omen_sessions *sessions, struct omen_session *session,
                                uint64_t seq)
{
    uint32_t gone = 0;

    if (seq + 1 > session->errors_from_seq) session->errors_from_seq = seq + 1;
    while (gone < session->error_count && session->errors[gone].seq <= seq)
        gone++;
    if (gone == 0) return;
    session->error_count -= gone;
    sessions->error_count -= gone;
    memmove(session->errors, session->errors + gone,
            session->error_count * sizeof *session->errors);
}

void omen_sessions_expire(struct omen_sessions *sessions, uint32_t now_s)
{
    /* A log of algorithm version 1 has no clock: its sessions are as old as the first time told. */
    for (struct omen_session *s = sessions->oldest; s != NULL && s->touched_s == 0; s = s->newer)
        s->touched_s = now_s;
    while (sessions->oldest != NULL &&
           (uint64_t)sessions->oldest->touched_s + OMEN_SESSION_IDLE_S <= now_s)
        remove_session(sessions, sessions->oldest, "a day went by");
}

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct omen_session *)a)->id, ((const struct omen_session *)b)->id,
                  OMEN_SESSION_ID_BYTES);
}

static void unlist(struct omen_sessions *sessions, struct omen_session *session)
{
    if (session->older != NULL) session->older->newer = session->newer;
    if (session->newer != NULL) session->newer->older = session->older;
    if (sessions->oldest == session) sessions->oldest = session->newer;
    if (sessions->newest == session) sessions->newest = session->older;
    session->older = session->newer = NULL;
}

static void list_newest(struct omen_sessions *sessions, struct omen_session *session)
{
    session->older = sessions->newest;
    session->newer = NULL;
    if (sessions->newest != NULL) sessions->newest->newer = session;
    sessions->newest = session;
    if (sessions->oldest == NULL) sessions->oldest = session;
}

static void remove_session(struct omen_sessions *sessions, struct omen_session *session,
                           const char *why)
{
    if (session->stream != NULL) {
        omen_error gone;

        omen_stream_kill(session->stream,
                         omen_fail_because(&gone, OMEN_ABORTED, "SESSION_EXPIRED",
                                           "the session is forgotten: since its last chunk %s",
                                           why),
                         &gone);
        omen_session_forget_stream(session, session->stream);
    }
    (void)tdelete(session, &sessions->tree, compare);
    unlist(sessions, session);
    sessions->count--;
    sessions->error_count -= session->error_count;
    omen_free(session->errors);
    omen_free(session);
}

/* session.c - see session.h. The tree is libc's; the order of age is a list through the sessions.
 */
#include "engine/session.h"

#include <search.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/stream.h"

static int compare(const void *a, const void *b);
static void unlist(struct omen_sessions *sessions, struct omen_session *session);
static void list_newest(struct omen_sessions *sessions, struct omen_session *session);
static void remove_session(struct omen_sessions *sessions, struct omen_session *session);

void omen_sessions_deinit(struct omen_sessions *sessions)
{
    while (sessions->oldest != NULL)
        remove_session(sessions, sessions->oldest);
}

struct omen_session *omen_session_find(const struct omen_sessions *sessions, const uint8_t *id)
{
    struct omen_session key;
    void *node;

    memcpy(key.id, id, sizeof key.id);
    node = tfind(&key, &sessions->tree, compare);
    return node == NULL ? NULL : *(struct omen_session **)node;
}

omen_code omen_session_touch(struct omen_sessions *sessions, const uint8_t *id,
                             struct omen_session **out, omen_error *err)
{
    struct omen_session *session = omen_session_find(sessions, id);

    if (session != NULL) {
        unlist(sessions, session);
        list_newest(sessions, session);
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
    if (++sessions->count > OMEN_SESSIONS_MAX) remove_session(sessions, sessions->oldest);
    *out = session;
    return OMEN_OK;
}

void omen_session_forget_stream(struct omen_session *session, const omen_stream *stream)
{
    if (session->stream != stream || stream == NULL) return;
    omen_stream_release(session->stream);
    session->stream = NULL;
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

static void remove_session(struct omen_sessions *sessions, struct omen_session *session)
{
    if (session->stream != NULL) {
        omen_error gone;

        omen_stream_kill(session->stream,
                         omen_fail_because(&gone, OMEN_ABORTED, "SESSION_EXPIRED",
                                           "more than %u sessions were opened since this one's "
                                           "last chunk",
                                           OMEN_SESSIONS_MAX),
                         &gone);
        omen_session_forget_stream(session, session->stream);
    }
    (void)tdelete(session, &sessions->tree, compare);
    unlist(sessions, session);
    sessions->count--;
    omen_free(session);
}

/* http_listener.c - see http_listener.h.
 *
 * Happy path: libmicrohttpd calls on_request() with the head, then with pieces of the body, then
 * with nothing: the request is complete, its connection is suspended, and `handle` gets the call.
 * The answer is kept in the call and the connection resumed; on_request() comes once more and
 * queues it; on_completed() frees the call when it was sent or the client is gone.
 *
 * - Bodies are the one thing that a client can make large, so each has a limit and all together
 *   have one. A body over a limit is still read, and dropped, up to a further limit: an answer to
 *   a client that is still sending would be lost in the reset of its connection.
 * - Closing must resume every suspended connection before libmicrohttpd is stopped. It waits for
 *   the answers, as long as they take, and for their way out, as long as it is given.
 *
 * Failure modes: without memory for a call the connection is closed; a client that is silent for
 * IDLE_SECONDS loses its connection; more connections than the limit wait in the backlog.
 */
#include "service/http_listener.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IDLE_SECONDS            30u
#define BODIES_BYTES_MAX        (64u << 20) /* of all requests that are not answered and sent */
#define DROPPED_BYTES_MAX       (64u << 20) /* of one body that is too large */
#define CONNECTION_MEMORY_BYTES (32u << 10) /* heads and buffers; the body is not in it */
#define BODY_ROOM_FIRST         4096u
#define METHOD_BYTES            16u
#define PATH_BYTES              256u

struct omen_http_call {
    /* The listener thread's, fixed once the call is handled. */
    omen_http_listener *listener;
    struct MHD_Connection *connection;
    char method[METHOD_BYTES];
    char path[PATH_BYTES];
    char *body;
    size_t body_bytes;
    size_t body_room; /* counted in listener->bodies_bytes */
    size_t dropped_bytes;
    enum omen_http_trouble trouble;
    bool handled;

    /* Under the listener's lock. */
    bool answered;
    struct MHD_Response *response;
    unsigned status;
};

struct omen_http_listener {
    /* Fixed at start. */
    struct MHD_Daemon *daemon;
    void (*handle)(omen_http_call *call);
    void *context;
    uint16_t port;

    /* The listener thread's. */
    size_t bodies_bytes;

    /* Under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t unanswered; /* handled, connection still to be resumed */
    uint32_t unsent;     /* handled, not completed */
    bool closing;
};

/* ---- reading ------------------------------------------------------------------------------ */

static omen_http_call *create_call(omen_http_listener *listener, struct MHD_Connection *connection,
                                   const char *method, const char *path)
{
    omen_http_call *call = calloc(1, sizeof *call);

    if (call == NULL) return NULL;
    call->listener = listener;
    call->connection = connection;
    (void)snprintf(call->method, sizeof call->method, "%s", method);
    (void)snprintf(call->path, sizeof call->path, "%s", path);
    return call;
}

static void drop_body(omen_http_call *call)
{
    call->listener->bodies_bytes -= call->body_room;
    free(call->body);
    call->body = NULL;
    call->body_bytes = call->body_room = 0;
}

/* Room for `bytes` more and a NUL; false with the trouble noted. */
static bool reserve_body(omen_http_call *call, size_t bytes)
{
    omen_http_listener *listener = call->listener;
    size_t wanted = call->body_bytes + bytes + 1;
    size_t room = call->body_room == 0 ? BODY_ROOM_FIRST : call->body_room;
    char *body = NULL;

    if (wanted > OMEN_HTTP_BODY_BYTES_MAX + 1) {
        call->trouble = OMEN_HTTP_TOO_LARGE;
        return false;
    }
    if (wanted <= call->body_room) return true;
    while (room < wanted)
        room *= 2;
    if (listener->bodies_bytes - call->body_room + room <= BODIES_BYTES_MAX)
        body = realloc(call->body, room);
    if (body == NULL) {
        call->trouble = OMEN_HTTP_NO_ROOM;
        return false;
    }
    listener->bodies_bytes += room - call->body_room;
    call->body = body;
    call->body_room = room;
    return true;
}

static enum MHD_Result take_upload(omen_http_call *call, const char *data, size_t bytes)
{
    if (call->trouble == OMEN_HTTP_WHOLE && reserve_body(call, bytes)) {
        memcpy(call->body + call->body_bytes, data, bytes);
        call->body_bytes += bytes;
        call->body[call->body_bytes] = '\0';
        return MHD_YES;
    }
    drop_body(call);
    call->dropped_bytes += bytes;
    return call->dropped_bytes <= DROPPED_BYTES_MAX ? MHD_YES : MHD_NO;
}

/* ---- answering ---------------------------------------------------------------------------- */

/* Suspends before anybody can answer, since the answer resumes. */
static enum MHD_Result hand_over(omen_http_call *call)
{
    omen_http_listener *listener = call->listener;
    bool closing = false;

    (void)pthread_mutex_lock(&listener->lock);
    closing = listener->closing;
    if (!closing) {
        listener->unanswered++;
        listener->unsent++;
    }
    (void)pthread_mutex_unlock(&listener->lock);
    if (closing) return MHD_NO;
    call->handled = true;
    MHD_suspend_connection(call->connection);
    listener->handle(call);
    return MHD_YES;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *bytes, void **slot)
{
    omen_http_listener *listener = user;
    omen_http_call *call = *slot;

    (void)version;
    if (call == NULL) {
        *slot = create_call(listener, connection, method, path);
        return *slot == NULL ? MHD_NO : MHD_YES;
    }
    if (*bytes > 0) {
        enum MHD_Result result = take_upload(call, data, *bytes);
        *bytes = 0;
        return result;
    }
    if (!call->handled) return hand_over(call);

    (void)pthread_mutex_lock(&listener->lock);
    bool answered = call->answered;
    struct MHD_Response *response = call->response;
    unsigned status = call->status;
    (void)pthread_mutex_unlock(&listener->lock);
    if (!answered) return MHD_YES;
    return response == NULL ? MHD_NO : MHD_queue_response(connection, status, response);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode why)
{
    omen_http_listener *listener = user;
    omen_http_call *call = *slot;

    (void)connection;
    (void)why;
    if (call == NULL) return;
    *slot = NULL;
    if (call->response != NULL) MHD_destroy_response(call->response);
    drop_body(call);
    if (call->handled) {
        (void)pthread_mutex_lock(&listener->lock);
        listener->unsent--;
        (void)pthread_cond_broadcast(&listener->changed);
        (void)pthread_mutex_unlock(&listener->lock);
    }
    free(call);
}

static struct MHD_Response *make_response(const struct omen_http_answer *answer)
{
    static char nothing[] = "";
    struct MHD_Response *response = NULL;

    if (answer->body.data == NULL)
        return MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    response = MHD_create_response_from_buffer(answer->body.bytes, answer->body.data,
                                               MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(answer->body.data);
        return NULL;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type);
    if (answer->allow != NULL)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, answer->allow);
    return response;
}

void omen_http_call_reply(omen_http_call *call, const struct omen_http_answer *answer)
{
    omen_http_listener *listener = call->listener;
    struct MHD_Connection *connection = call->connection;
    struct MHD_Response *response = make_response(answer);

    (void)pthread_mutex_lock(&listener->lock);
    call->response = response;
    call->status = answer->body.data == NULL ? MHD_HTTP_SERVICE_UNAVAILABLE : answer->status;
    call->answered = true;
    (void)pthread_mutex_unlock(&listener->lock);
    MHD_resume_connection(connection); /* from here on the call may be gone */
    (void)pthread_mutex_lock(&listener->lock);
    listener->unanswered--;
    (void)pthread_cond_broadcast(&listener->changed);
    (void)pthread_mutex_unlock(&listener->lock);
}

/* ---- opening and closing ------------------------------------------------------------------ */

/* A listening socket, or -1 and *what the step that failed; errno says why, 0 for a bad name. */
static int open_socket(const struct omen_http_options *options, const char **what)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[8];
    int one = 1;
    int fd = -1;

    (void)snprintf(port, sizeof port, "%u", (unsigned)options->port);
    *what = "no such address";
    errno = 0;
    if (getaddrinfo(options->host, port, &hints, &found) != 0) return -1;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        *what = "cannot listen";
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
        if (fd < 0) continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) break;
        int why = errno;
        (void)close(fd);
        errno = why;
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    char port[8] = "0";

    if (getsockname(fd, (struct sockaddr *)&address, &bytes) == 0)
        (void)getnameinfo((struct sockaddr *)&address, bytes, NULL, 0, port, sizeof port,
                          NI_NUMERICSERV);
    return (uint16_t)strtoul(port, NULL, 10);
}

/* What libmicrohttpd says about its clients' mistakes is of no use to an operator. */
static void drop_message(void *user, const char *format, va_list args)
{
    (void)user;
    (void)format;
    (void)args;
}

/* A collection's name needs no escapes, so "%00" and its like stay what they are: no name. */
static size_t keep_escapes(void *user, struct MHD_Connection *connection, char *text)
{
    (void)user;
    (void)connection;
    return strlen(text);
}

static struct MHD_Daemon *start_daemon(omen_http_listener *listener, int fd)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_request, listener, MHD_OPTION_EXTERNAL_LOGGER, drop_message, NULL,
        MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        listener, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_CONNECTION_LIMIT,
        OMEN_HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_END);
}

omen_code omen_http_listener_open(const struct omen_http_options *options, omen_http_listener **out,
                                  omen_error *err)
{
    omen_http_listener *listener = calloc(1, sizeof *listener);
    const char *what = NULL;
    int fd = -1;

    *out = NULL;
    if (listener == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to start");
    listener->handle = options->handle;
    listener->context = options->context;
    fd = open_socket(options, &what);
    if (fd < 0) {
        int why = errno;
        free(listener);
        return omen_fail(err, OMEN_UNAVAILABLE, "http_host \"%.100s\", http_port %u: %s%s%s",
                         options->host, (unsigned)options->port, what, why == 0 ? "" : ": ",
                         why == 0 ? "" : strerror(why));
    }
    listener->port = port_of(fd);
    (void)pthread_mutex_init(&listener->lock, NULL);
    (void)pthread_cond_init(&listener->changed, NULL);
    listener->daemon = start_daemon(listener, fd);
    if (listener->daemon == NULL) {
        (void)close(fd);
        free(listener);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory or threads for the HTTP port");
    }
    *out = listener;
    return OMEN_OK;
}

uint16_t omen_http_listener_port(const omen_http_listener *listener)
{
    return listener->port;
}

void omen_http_listener_close(omen_http_listener *listener, uint32_t grace_ms)
{
    struct timespec until;

    if (listener == NULL) return;
    MHD_socket fd = MHD_quiesce_daemon(listener->daemon);
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += grace_ms / 1000;
    until.tv_nsec += (long)(grace_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_mutex_lock(&listener->lock);
    listener->closing = true;
    while (listener->unsent > 0 &&
           pthread_cond_timedwait(&listener->changed, &listener->lock, &until) == 0)
        continue;
    while (listener->unanswered > 0)
        (void)pthread_cond_wait(&listener->changed, &listener->lock);
    (void)pthread_mutex_unlock(&listener->lock);
    MHD_stop_daemon(listener->daemon);
    if (fd != MHD_INVALID_SOCKET) (void)close(fd);
    (void)pthread_cond_destroy(&listener->changed);
    (void)pthread_mutex_destroy(&listener->lock);
    free(listener);
}

/* ---- a call ------------------------------------------------------------------------------- */

void *omen_http_call_context(const omen_http_call *call)
{
    return call->listener->context;
}

const char *omen_http_call_method(const omen_http_call *call)
{
    return call->method;
}

const char *omen_http_call_path(const omen_http_call *call)
{
    return call->path;
}

enum omen_http_trouble omen_http_call_trouble(const omen_http_call *call)
{
    return call->trouble;
}

const char *omen_http_call_argument(const omen_http_call *call, const char *key)
{
    return MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, key);
}

const char *omen_http_call_body(const omen_http_call *call, size_t *bytes)
{
    *bytes = call->body_bytes;
    return call->body == NULL ? "" : call->body;
}

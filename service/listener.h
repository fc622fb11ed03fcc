/* listener.h - the network: calls come in, bytes go out. The only door to gRPC.
 *
 * A *method* is a path and the functions that serve it. Every event of every call is delivered on
 * one thread, the poller; whatever may block or compute must be handed on by the method. Answers
 * may be started from any thread.
 *
 * A unary call arrives with its request, and is answered once: omen_call_reply() or
 * omen_call_finish(). After that nothing may be done with the call. A stream call is read and
 * written message by message, one read and one write at a time; not asking for the next message is
 * the back-pressure. It ends with `closed`, always, whoever ended it, and after that nothing may be
 * done with the call.
 */
#ifndef OMEN_LISTENER_H
#define OMEN_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/config.h"

typedef struct omen_listener omen_listener;
typedef struct omen_call omen_call;
typedef struct omen_message omen_message; /* a request's bytes, in slices as they came */

/* Bytes on their way out: malloc'ed. */
struct omen_payload {
    uint8_t *data;
    size_t bytes;
};

/* ---- messages ----------------------------------------------------------------------------- */

size_t omen_message_bytes(const omen_message *message);
/* The slice's bytes, borrowed until the message is destroyed; false past the last slice. */
bool omen_message_slice(const omen_message *message, size_t index, const uint8_t **data,
                        size_t *bytes);
void omen_message_destroy(omen_message *message); /* NULL is allowed */

/* ---- methods ------------------------------------------------------------------------------ */

struct omen_method {
    const char *path; /* "/omendb.v1.VectorService/Search" */
    bool stream;

    /* A call came. Takes: request, which is NULL for a stream. */
    void (*start)(omen_call *call, omen_message *request);

    /* Stream only. */
    void (*message)(omen_call *call, omen_message *message); /* Takes; NULL: no more will come */
    void (*written)(omen_call *call, bool delivered);

    /* The last event of a call, after `start`. A unary method may do without it; one that has it
     * hears there that nobody waits any more, perhaps before it has answered. It answers in any
     * case. */
    void (*closed)(omen_call *call);
};

void *omen_call_context(const omen_call *call); /* the listener's */
void *omen_call_user(const omen_call *call);    /* the method's own */
void omen_call_set_user(omen_call *call, void *user);

/* Nobody waits for the answer any more: cancelled, past its deadline, or disconnected. Any thread.
 */
bool omen_call_cancelled(const omen_call *call);

/* When the client stops waiting, in nanoseconds of CLOCK_MONOTONIC; UINT64_MAX: never. Of a method
 * that is served by its path. */
uint64_t omen_call_deadline_ns(const omen_call *call);

/* ---- stream calls; any thread, until `closed` ---------------------------------------------- */

void omen_call_read(omen_call *call); /* then `message`, or `closed` */
void omen_call_write(omen_call *call, struct omen_payload message); /* Takes; then `written` */

/* ---- the end of a call; once, any thread -------------------------------------------------- */

/* A last message and status OK. Takes: reply. */
void omen_call_reply(omen_call *call, struct omen_payload reply);
/* A status without a message. `details` goes into grpc-status-details-bin; its data may be NULL.
 * Takes: details. */
void omen_call_finish(omen_call *call, omen_code code, const char *message,
                      struct omen_payload details);

/* ---- listener ----------------------------------------------------------------------------- */

struct omen_listener_options {
    const struct omen_config *config;         /* where to listen, and the limits of connections;
                                                 borrowed until omen_listener_open() returns */
    const struct omen_method *const *methods; /* borrowed until omen_listener_close() returns */
    size_t method_count;
    const struct omen_method *unknown; /* serves every other path, as a stream */
    void *context;
};

/* Starts listening.
 * Owns:  *out, release it with omen_listener_close().
 * Fails: OMEN_UNAVAILABLE the address cannot be had, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_listener_open(const struct omen_listener_options *options,
                                          omen_listener **out, omen_error *err);

uint16_t omen_listener_port(const omen_listener *listener);

/* The path that the client asked for. Borrowed until the call ends. */
const char *omen_call_path(const omen_call *call);

/* Takes no more calls, lets the open ones end for `grace_ms`, cancels the rest, and returns when
 * none is left. Any thread but the poller. NULL is allowed. */
void omen_listener_close(omen_listener *listener, uint32_t grace_ms);

#endif

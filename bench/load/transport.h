/* transport.h - gRPC for a load generator: connections, calls, and the events that they lead to.
 *
 * A connection has one event queue and one thread that takes events from it; a unary call may be
 * started from another thread as well. Each connection is a TCP connection of its own.
 */
#ifndef OMEN_LOAD_TRANSPORT_H
#define OMEN_LOAD_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/messages.h"
#include "engine/engine.h"

typedef struct omen_load_connection omen_load_connection;
typedef struct omen_load_call omen_load_call;

enum omen_load_event_kind {
    OMEN_LOAD_SENT,     /* the next message may be sent */
    OMEN_LOAD_RECEIVED, /* a message is there */
    OMEN_LOAD_ENDED     /* the call's last event: its status is known, destroy it */
};

struct omen_load_event {
    enum omen_load_event_kind kind;
    omen_load_call *call;
    void *user; /* the call's */
};

/* Owns:  *out, release it with omen_load_connection_close().
 * Fails: OMEN_UNAVAILABLE when nobody answers at `target` within ten seconds. */
OMEN_CHECKED omen_code omen_load_connection_open(const char *target, omen_load_connection **out,
                                                 omen_error *err);

/* Every call must have been destroyed. NULL is allowed. */
void omen_load_connection_close(omen_load_connection *connection);

/* The next event; false when there is none until `deadline` (of omen_load_clock_now()). */
OMEN_CHECKED bool omen_load_connection_next(omen_load_connection *connection, int64_t deadline,
                                            struct omen_load_event *event);

/* Starts a unary call; ENDED is its only event, after two minutes at most, and its
 * answer is the message then.
 * Takes: request. Threads: any. */
void omen_load_call_ask(omen_load_connection *connection, const char *path,
                        struct omen_load_payload request, void *user);

/* Asks and waits: for a connection on which nothing else happens. Takes: request. */
OMEN_CHECKED omen_code omen_load_call_wait(omen_load_connection *connection, const char *path,
                                           struct omen_load_payload request, omen_error *err);

/* Starts a call that streams both ways; messages begin to arrive.
 * Owns: the call, until ENDED; destroy it then. */
omen_load_call *omen_load_call_stream(omen_load_connection *connection, const char *path,
                                      void *user);

/* Only after the last SENT, or as the first. Takes: message. */
void omen_load_call_send(omen_load_call *call, struct omen_load_payload message);

/* Half-closes. */
void omen_load_call_finish(omen_load_call *call);

/* Ends it early; ENDED follows. */
void omen_load_call_cancel(omen_load_call *call);

/* The message of RECEIVED (until omen_load_call_receive) or of a unary ENDED. Borrows from the
 * call. `data` is NULL when there is none. */
struct omen_load_bytes omen_load_call_message(const omen_load_call *call);

/* Lets the next message of a stream come; to be called after every RECEIVED. */
void omen_load_call_receive(omen_load_call *call);

/* After ENDED: how it ended. */
OMEN_CHECKED omen_code omen_load_call_status(const omen_load_call *call, omen_error *err);

void omen_load_call_destroy(omen_load_call *call);

#endif

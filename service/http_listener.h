/* http_listener.h - the HTTP port: requests come in whole, answers go out. The only door to
 * libmicrohttpd.
 *
 * One thread, the listener's, reads and writes every connection. It calls `handle` with a complete
 * request and leaves the connection alone until omen_http_call_reply(), which any thread may call,
 * `handle` itself included. Whatever may block or compute must be handed on.
 */
#ifndef OMEN_HTTP_LISTENER_H
#define OMEN_HTTP_LISTENER_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/listener.h"

#define OMEN_HTTP_BODY_BYTES_MAX  (4u << 20)
#define OMEN_HTTP_CONNECTIONS_MAX 200u

typedef struct omen_http_listener omen_http_listener;
typedef struct omen_http_call omen_http_call;

/* What kept a request from being read as a whole; its body is empty then. */
enum omen_http_trouble {
    OMEN_HTTP_WHOLE,
    OMEN_HTTP_TOO_LARGE, /* over OMEN_HTTP_BODY_BYTES_MAX */
    OMEN_HTTP_NO_ROOM    /* the bodies of all open requests together, or memory */
};

struct omen_http_options {
    const char *host;
    uint16_t port; /* 0: any free one */
    void (*handle)(omen_http_call *call);
    void *context;
};

/* Starts listening.
 * Owns:  *out, release it with omen_http_listener_close().
 * Fails: OMEN_UNAVAILABLE the address cannot be had, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_http_listener_open(const struct omen_http_options *options,
                                               omen_http_listener **out, omen_error *err);

uint16_t omen_http_listener_port(const omen_http_listener *listener);

/* Takes no more connections and requests, lets the open ones be answered and sent for `grace_ms`,
 * and returns when none is left unanswered. Any thread but the listener's. NULL is allowed. */
void omen_http_listener_close(omen_http_listener *listener, uint32_t grace_ms);

/* ---- a call: until it is answered --------------------------------------------------------- */

void *omen_http_call_context(const omen_http_call *call);
const char *omen_http_call_method(const omen_http_call *call); /* cut off if too long */
const char *omen_http_call_path(const omen_http_call *call);   /* the same; as sent, not decoded */
enum omen_http_trouble omen_http_call_trouble(const omen_http_call *call);

/* The value of ?key=value; NULL if there is none. In `handle` only. */
const char *omen_http_call_argument(const omen_http_call *call, const char *key);

/* NUL-terminated; *bytes does not count the NUL. */
const char *omen_http_call_body(const omen_http_call *call, size_t *bytes);

struct omen_http_answer {
    unsigned status;
    const char *content_type;
    const char *allow;        /* NULL, or the Allow header; borrowed until the return */
    struct omen_payload body; /* without data: 503 and nothing */
};

/* Once. Takes: answer->body. */
void omen_http_call_reply(omen_http_call *call, const struct omen_http_answer *answer);

#endif

/* http_methods.h - the HTTP port's routes, and what their handlers are given.
 *
 * A handler answers its task's call, now or later, exactly once. The task itself is gone when the
 * handler returns; one that answers later keeps the call and the service.
 */
#ifndef OMEN_HTTP_METHODS_H
#define OMEN_HTTP_METHODS_H

#include <stdbool.h>

#include "service/decode.h"
#include "service/fault.h"
#include "service/http_listener.h"
#include "service/service.h"
#include "service/text.h"

struct omen_http_task {
    omen_http_call *call;
    omen_service *service;
    char name[OMEN_REQUEST_NAME_BYTES]; /* of the collection in the path; cut off if too long */
    bool with_graph_hash;
};

typedef void omen_http_handler(const struct omen_http_task *task);

/* The listener's `handle`, its context being the service (http_routes.c). */
void omen_http_route(omen_http_call *call);

omen_http_handler omen_http_create_collection; /* http_collection.c */
omen_http_handler omen_http_list_collections;
omen_http_handler omen_http_get_collection;
omen_http_handler omen_http_update_collection;
omen_http_handler omen_http_delete_collection;
omen_http_handler omen_http_validate_collection;
omen_http_handler omen_http_estimate_memory;
omen_http_handler omen_http_search; /* http_search.c */
omen_http_handler omen_http_insert; /* http_write.c */
omen_http_handler omen_http_upsert;
omen_http_handler omen_http_delete;
omen_http_handler omen_http_get; /* http_get.c */

/* ---- answers (http_routes.c) -------------------------------------------------------------- */

/* The fault as a status and {"error": ...}: the one place where codes become HTTP's. */
void omen_http_reply_fault(omen_http_call *call, const struct omen_fault *fault);

/* 200 and the text, or, if that failed, the fault MEMORY_BUDGET. Takes: text. */
void omen_http_reply_json(omen_http_call *call, struct omen_text *text);

#endif

/* http_collection.c - the collections of the HTTP port: decode, call the engine, answer. On the
 * HTTP port's workers, since the engine may sync files or wait for an epoch.
 */
#include "service/http_methods.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string.h>

#include "service/decode_json.h"
#include "service/methods.h"
#include "service/reply_json.h"

/* Answers with what the text holds, or with the fault. */
static void reply(const struct omen_http_task *task, const struct omen_fault *fault,
                  struct omen_text *text)
{
    if (fault->code != OMEN_OK)
        omen_http_reply_fault(task->call, fault);
    else
        omen_http_reply_json(task->call, text);
}

static omen_code read_create(const struct omen_http_task *task, struct omen_create_request *out,
                             struct omen_fault *fault)
{
    size_t bytes = 0;
    const char *body = omen_http_call_body(task->call, &bytes);
    omen_json *json = omen_json_parse(body, bytes, fault);

    if (json != NULL) (void)omen_json_read_create(json, out, fault);
    omen_json_destroy(json);
    return fault->code;
}

void omen_http_create_collection(const struct omen_http_task *task)
{
    struct omen_create_request request;
    struct omen_collection_info info;
    struct omen_fault fault = {0};
    struct omen_text text = {0};
    omen_engine *engine = omen_service_engine(task->service, &fault);

    if (engine != NULL && read_create(task, &request, &fault) == OMEN_OK)
        fault.code =
            omen_collection_create(engine, request.name, &request.settings, &info, &fault.error);
    if (fault.code == OMEN_OK) {
        omen_json_write_collection(&text, &info, "");
        omen_text_add(&text, "\n");
    }
    reply(task, &fault, &text);
}

void omen_http_get_collection(const struct omen_http_task *task)
{
    struct omen_collection_info info;
    struct omen_fault fault = {0};
    struct omen_text text = {0};
    char hash[OMEN_GRAPH_HASH_BYTES];
    omen_engine *engine = omen_service_engine(task->service, &fault);

    if (engine != NULL)
        fault.code = omen_collection_look_up(
            engine, task->name, task->with_graph_hash ? hash : NULL, &info, &fault.error);
    if (fault.code == OMEN_OK) {
        omen_json_write_collection(&text, &info, task->with_graph_hash ? hash : "");
        omen_text_add(&text, "\n");
    }
    reply(task, &fault, &text);
}

void omen_http_update_collection(const struct omen_http_task *task)
{
    struct omen_update_request request;
    struct omen_collection_info info;
    struct omen_fault fault = {0};
    struct omen_text text = {0};
    size_t bytes = 0;
    const char *body = omen_http_call_body(task->call, &bytes);
    omen_engine *engine = omen_service_engine(task->service, &fault);
    omen_json *json = engine == NULL ? NULL : omen_json_parse(body, bytes, &fault);

    memcpy(request.name, task->name, sizeof request.name);
    if (json != NULL && omen_json_read_update(json, &request, &fault) == OMEN_OK)
        fault.code = omen_collection_update(engine, &request, &info, &fault.error);
    omen_json_destroy(json);
    if (fault.code == OMEN_OK) {
        omen_json_write_collection(&text, &info, "");
        omen_text_add(&text, "\n");
    }
    reply(task, &fault, &text);
}

void omen_http_list_collections(const struct omen_http_task *task)
{
    struct omen_collection_info *infos = NULL;
    struct omen_fault fault = {0};
    struct omen_text text = {0};
    size_t count = 0;
    omen_engine *engine = omen_service_engine(task->service, &fault);

    if (engine != NULL) fault.code = omen_collection_list(engine, &infos, &count, &fault.error);
    omen_text_add(&text, "{\"collections\":[");
    for (size_t i = 0; i < count; i++) {
        omen_text_add(&text, i == 0 ? "" : ",");
        omen_json_write_collection(&text, &infos[i], "");
    }
    omen_text_add(&text, "]}\n");
    omen_collection_list_free(infos);
    reply(task, &fault, &text);
    omen_text_deinit(&text);
}

void omen_http_delete_collection(const struct omen_http_task *task)
{
    struct omen_fault fault = {0};
    struct omen_text text = {0};
    omen_engine *engine = omen_service_engine(task->service, &fault);

    if (engine != NULL) fault.code = omen_collection_delete(engine, task->name, &fault.error);
    if (fault.code == OMEN_OK) omen_text_add(&text, "{}\n");
    reply(task, &fault, &text);
}

/* An argument of the path as a number; 0 if it is not there. */
static omen_code read_argument(const struct omen_http_task *task, const char *name, uint64_t *out,
                               struct omen_fault *fault)
{
    const char *text = omen_http_call_argument(task->call, name);
    char *end = NULL;

    *out = 0;
    if (text == NULL) return OMEN_OK;
    errno = 0;
    if (isdigit((unsigned char)text[0])) *out = strtoull(text, &end, 10);
    if (end != NULL && *end == '\0' && errno == 0) return OMEN_OK;
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", name,
                          "%s is \"%.32s\", it must be a number", name, text);
}

void omen_http_estimate_memory(const struct omen_http_task *task)
{
    struct omen_estimate_request request = {.settings = {.metric = OMEN_METRIC_L2}};
    struct omen_estimate_answer answer;
    struct omen_fault fault = {0};
    struct omen_text text = {0};
    uint64_t dim = 0;
    omen_engine *engine = omen_service_engine(task->service, &fault);

    if (engine != NULL && read_argument(task, "dim", &dim, &fault) == OMEN_OK &&
        read_argument(task, "points", &request.points, &fault) == OMEN_OK &&
        read_argument(task, "keyed_points", &request.keyed, &fault) == OMEN_OK) {
        const char *originals = omen_http_call_argument(task->call, "originals");

        if (originals != NULL && strcmp(originals, "f16") == 0)
            request.settings.originals = OMEN_ORIGINALS_F16;
        request.settings.dim = dim > UINT32_MAX ? UINT32_MAX : (uint32_t)dim;
        fault.code = omen_memory_estimate(engine, &request, &answer, &fault.error);
    }
    if (fault.code == OMEN_OK) omen_json_write_estimate(&text, &answer);
    reply(task, &fault, &text);
}

void omen_http_validate_collection(const struct omen_http_task *task)
{
    struct omen_validation validation;
    struct omen_fault fault = {0};
    struct omen_text text = {0};
    omen_engine *engine = omen_service_engine(task->service, &fault);

    if (engine != NULL)
        fault.code = omen_collection_check(engine, task->name, &validation, &fault.error);
    if (fault.code == OMEN_OK) omen_json_write_validation(&text, &validation);
    reply(task, &fault, &text);
}

/* http_get.c - POST /v1/collections/NAME/get: all of it on one worker. */
#include "service/http_methods.h"

#include <stdio.h>

#include "service/decode_json.h"
#include "service/get_run.h"
#include "service/metrics.h"
#include "service/reply_json.h"

static omen_code run(struct omen_get_run *run, const struct omen_http_task *task,
                     struct omen_fault *fault)
{
    size_t bytes = 0;
    const char *body = omen_http_call_body(task->call, &bytes);
    omen_engine *engine = omen_service_engine(task->service, fault);
    omen_json *json = NULL;

    if (engine == NULL) return fault->code;
    json = omen_json_parse(body, bytes, fault);
    if (json == NULL) return fault->code;
    (void)snprintf(run->wanted.collection, sizeof run->wanted.collection, "%s", task->name);
    (void)omen_json_read_get(json, &run->wanted, fault);
    omen_json_destroy(json);
    if (fault->code != OMEN_OK) return fault->code;
    if (omen_get_run_init(run, engine, omen_service_requests(task->service), fault) != OMEN_OK)
        return fault->code;
    return omen_get_run_go(run, fault);
}

void omen_http_get(const struct omen_http_task *task)
{
    struct omen_get_run state = {0};
    struct omen_fault fault = {0};
    struct omen_text text = {0};

    if (run(&state, task, &fault) != OMEN_OK) {
        omen_http_reply_fault(task->call, &fault);
    } else {
        omen_metrics_count_get(omen_service_metrics(task->service), state.got.count);
        omen_json_write_got(&text, &state.got);
        omen_http_reply_json(task->call, &text);
    }
    omen_get_run_deinit(&state);
}

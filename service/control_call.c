/* control_call.c - see control_call.h. */
#include "service/control_call.h"

#include <stdlib.h>

#include "service/reply.h"
#include "service/service.h"

struct job {
    omen_call *call;
    omen_message *request;
    omen_control_fn *run;
    struct omen_workers *workers;
};

static void run_job(void *user)
{
    struct job *job = user;
    struct omen_fault fault = {0};
    struct omen_payload reply = {0};
    omen_engine *engine = omen_service_engine(omen_call_context(job->call), &fault);

    if (engine != NULL) fault.code = job->run(engine, job->request, &reply, &fault);
    omen_message_destroy(job->request);
    if (fault.code != OMEN_OK)
        omen_reply_fault(job->call, &fault);
    else
        omen_reply_payload(job->call, reply);
    omen_workers_leave(job->workers);
    free(job);
}

void omen_control_call(omen_call *call, omen_message *request, omen_control_fn *run,
                       struct omen_workers *workers)
{
    struct job *job = malloc(sizeof *job);
    struct omen_fault fault = {0};

    if (job != NULL && omen_workers_admit(workers)) {
        *job = (struct job){call, request, run, workers};
        if (omen_workers_submit(workers, run_job, job)) return;
        omen_workers_leave(workers);
    }
    free(job);
    omen_message_destroy(request);
    (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "RATE", NULL,
                         "too many such calls are waiting: try again later");
    omen_reply_fault(call, &fault);
}

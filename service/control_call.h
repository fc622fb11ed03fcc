/* control_call.h - a unary call of the control plane: decoded, run and answered on a worker, since
 * the engine may sync files or wait for an epoch in it. */
#ifndef OMEN_CONTROL_CALL_H
#define OMEN_CONTROL_CALL_H

#include "service/fault.h"
#include "service/listener.h"
#include "service/workers.h"

/* Makes the answer, or returns the fault's code. */
typedef omen_code omen_control_fn(omen_engine *engine, const omen_message *request,
                                  struct omen_payload *reply, struct omen_fault *fault);

/* Takes: request. Answers the call in any case. The poller's. */
void omen_control_call(omen_call *call, omen_message *request, omen_control_fn *run,
                       struct omen_workers *workers);

#endif

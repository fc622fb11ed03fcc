/* reply_status.c - a fault as a gRPC status with details that programs can read.
 *
 * Failure modes: texts may hold bytes that a client sent, or be cut off inside a character; they
 * are made valid UTF-8 first, since a client's protobuf refuses a whole message over one bad byte.
 * Without memory for the details the status goes out without them.
 */
#include "service/reply.h"

#include <stdio.h>
#include <stdlib.h>

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"

#define DOMAIN      "omendb"
#define TYPE_PREFIX "type.googleapis.com/"

static struct omen_payload encode_details(const struct omen_fault *fault);
static struct omen_payload pack_status(const struct omen_fault *fault, size_t count,
                                       const ProtobufCMessage *const *details);

void omen_reply_fault(omen_call *call, const struct omen_fault *fault)
{
    struct omen_fault clean = *fault;

    omen_fault_make_utf8(&clean);
    omen_call_finish(call, clean.code, clean.error.message, encode_details(&clean));
}

void omen_reply_payload(omen_call *call, struct omen_payload payload)
{
    struct omen_fault fault;

    if (payload.data != NULL) {
        omen_call_reply(call, payload);
        return;
    }
    (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                         "no memory for the answer");
    omen_reply_fault(call, &fault);
}

static struct omen_payload encode_details(const struct omen_fault *fault)
{
    char reason[OMEN_REASON_MAX];
    char field[OMEN_FIELD_MAX];
    char sentence[OMEN_ERROR_MAX];
    char domain[] = DOMAIN;
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__BadRequest__FieldViolation violation =
        GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
    Google__Rpc__BadRequest__FieldViolation *violations[] = {&violation};
    Google__Rpc__BadRequest bad_request = GOOGLE__RPC__BAD_REQUEST__INIT;
    const ProtobufCMessage *details[] = {&info.base, &bad_request.base};

    /* Copies, because protobuf-c's structs want pointers to what may be written. */
    (void)snprintf(reason, sizeof reason, "%s", omen_fault_reason(fault));
    (void)snprintf(field, sizeof field, "%s", fault->field);
    (void)snprintf(sentence, sizeof sentence, "%s", fault->error.message);
    info.reason = reason;
    info.domain = domain;
    violation.field = field;
    violation.description = sentence;
    bad_request.field_violations = violations;
    bad_request.n_field_violations = 1;
    return pack_status(fault, field[0] == '\0' ? 1 : 2, details);
}

static struct omen_payload pack_status(const struct omen_fault *fault, size_t count,
                                       const ProtobufCMessage *const *details)
{
    char message[OMEN_ERROR_MAX];
    char types[2][80];
    uint8_t values[2][OMEN_ERROR_MAX + OMEN_FIELD_MAX + 32];
    Google__Protobuf__Any any[2] = {GOOGLE__PROTOBUF__ANY__INIT, GOOGLE__PROTOBUF__ANY__INIT};
    Google__Protobuf__Any *list[2] = {&any[0], &any[1]};
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    struct omen_payload payload = {0};

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(types[i], sizeof types[i], TYPE_PREFIX "%s", details[i]->descriptor->name);
        any[i].type_url = types[i];
        any[i].value.data = values[i];
        any[i].value.len = protobuf_c_message_pack(details[i], values[i]);
    }
    (void)snprintf(message, sizeof message, "%s", fault->error.message);
    status.code = (int32_t)fault->code;
    status.message = message;
    status.details = list;
    status.n_details = count;
    payload.data = malloc(google__rpc__status__get_packed_size(&status));
    if (payload.data != NULL) payload.bytes = google__rpc__status__pack(&status, payload.data);
    return payload;
}

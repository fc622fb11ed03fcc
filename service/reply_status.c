/* reply_status.c - a fault as a gRPC status with details that programs can read.
 *
 * Failure modes: texts may hold bytes that a client sent, or be cut off inside a character; they
 * are made valid UTF-8 first, since a client's protobuf refuses a whole message over one bad byte.
 * Without memory for the details the status goes out without them.
 */
#include "service/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"

#define DOMAIN      "omendb"
#define TYPE_PREFIX "type.googleapis.com/"
#define DETAILS_MAX 3u

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

/* Where room is missing: how much there is, as far as it is known. */
struct figures {
    char values[3][24];
    Google__Rpc__ErrorInfo__MetadataEntry entries[3];
    Google__Rpc__ErrorInfo__MetadataEntry *list[3];
};

static void show_figures(const struct omen_figures *figures, struct figures *out,
                         Google__Rpc__ErrorInfo *info)
{
    static char names[3][8] = {"used", "limit", "needed"};
    const uint64_t values[3] = {figures->used, figures->limit, figures->needed};

    if (figures->limit == 0) return;
    for (size_t i = 0; i < 3; i++) {
        google__rpc__error_info__metadata_entry__init(&out->entries[i]);
        (void)snprintf(out->values[i], sizeof out->values[i], "%" PRIu64, values[i]);
        out->entries[i].key = names[i];
        out->entries[i].value = out->values[i];
        out->list[i] = &out->entries[i];
    }
    info->metadata = out->list;
    info->n_metadata = 3;
}

static struct omen_payload encode_details(const struct omen_fault *fault)
{
    char reason[OMEN_REASON_MAX];
    char field[OMEN_FIELD_MAX];
    char sentence[OMEN_ERROR_MAX];
    char domain[] = DOMAIN;
    struct figures figures;
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__BadRequest__FieldViolation violation =
        GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
    Google__Rpc__BadRequest__FieldViolation *violations[] = {&violation};
    Google__Rpc__BadRequest bad_request = GOOGLE__RPC__BAD_REQUEST__INIT;
    Google__Rpc__RetryInfo__Delay delay = GOOGLE__RPC__RETRY_INFO__DELAY__INIT;
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
    const ProtobufCMessage *details[DETAILS_MAX] = {&info.base};
    size_t count = 1;

    /* Copies, because protobuf-c's structs want pointers to what may be written. */
    (void)snprintf(reason, sizeof reason, "%s", omen_fault_reason(fault));
    (void)snprintf(field, sizeof field, "%s", fault->field);
    (void)snprintf(sentence, sizeof sentence, "%s", fault->error.message);
    info.reason = reason;
    info.domain = domain;
    show_figures(&fault->error.figures, &figures, &info);
    violation.field = field;
    violation.description = sentence;
    bad_request.field_violations = violations;
    bad_request.n_field_violations = 1;
    delay.seconds = fault->error.retry_ms / 1000;
    delay.nanos = (int32_t)(fault->error.retry_ms % 1000 * 1000000);
    retry.retry_delay = &delay;
    if (field[0] != '\0') details[count++] = &bad_request.base;
    if (fault->error.retry_ms != 0) details[count++] = &retry.base;
    return pack_status(fault, count, details);
}

static struct omen_payload pack_status(const struct omen_fault *fault, size_t count,
                                       const ProtobufCMessage *const *details)
{
    char message[OMEN_ERROR_MAX];
    char types[DETAILS_MAX][80];
    uint8_t values[DETAILS_MAX][OMEN_ERROR_MAX + OMEN_FIELD_MAX + 64];
    Google__Protobuf__Any any[DETAILS_MAX];
    Google__Protobuf__Any *list[DETAILS_MAX];
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    struct omen_payload payload = {0};

    for (size_t i = 0; i < count; i++) {
        google__protobuf__any__init(&any[i]);
        list[i] = &any[i];
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

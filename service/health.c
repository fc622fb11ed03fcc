/* health.c - grpc.health.v1.Health: Check and Watch.
 *
 * Known names: "", the two services and what reads points, which are served together; what writes
 * points, which is not served while no write is taken (a full disk, a failed log); and "liveness",
 * which is served for as long as the poller turns. A Watch remembers the status
 * that it told last; a change while a message is in flight is told when that is delivered, so a
 * watcher that never reads costs nothing.
 */
#include "service/health.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "grpc/health/v1/health.pb-c.h"
#include "service/decode.h"
#include "service/methods.h"
#include "service/reply.h"
#include "service/service.h"

/* The protocol's numbers under shorter names. */
enum health_status {
    HEALTH_NEVER_TOLD = -1,
    HEALTH_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
    HEALTH_NOT_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING,
    HEALTH_UNKNOWN_NAME = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
};

enum health_subject { SUBJECT_SERVER, SUBJECT_WRITES, SUBJECT_LIVENESS, SUBJECT_UNKNOWN };

/* One Watch call; everything under the health's lock. */
struct watch {
    struct watch *previous;
    struct watch *next;
    omen_call *call;
    enum health_subject subject;
    enum health_status told;
    bool asked; /* the request is here, subject is valid */
    bool writing;
    bool ended;
};

struct omen_health {
    pthread_mutex_t lock;
    struct watch *first;
    bool serving;
    bool writes_refused;
    bool ending; /* every watch ends */
};

static enum health_subject subject_named(const char *name)
{
    static const char *const served[] = {
        "", "omendb.v1.VectorService", "omendb.v1.VectorService/read",
        "omendb.v1.CollectionService", "omendb.v1.SnapshotService"};

    for (size_t i = 0; i < sizeof served / sizeof *served; i++)
        if (strcmp(name, served[i]) == 0) return SUBJECT_SERVER;
    if (strcmp(name, "omendb.v1.VectorService/write") == 0) return SUBJECT_WRITES;
    return strcmp(name, "liveness") == 0 ? SUBJECT_LIVENESS : SUBJECT_UNKNOWN;
}

static enum health_status status_of(const struct omen_health *health, enum health_subject subject)
{
    if (subject == SUBJECT_UNKNOWN) return HEALTH_UNKNOWN_NAME;
    if (subject == SUBJECT_LIVENESS) return HEALTH_SERVING;
    if (subject == SUBJECT_WRITES && health->writes_refused) return HEALTH_NOT_SERVING;
    return health->serving ? HEALTH_SERVING : HEALTH_NOT_SERVING;
}

static struct omen_payload encode_status(enum health_status status)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    struct omen_payload payload = {0};

    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    payload.data = malloc(grpc__health__v1__health_check_response__get_packed_size(&response) + 1);
    if (payload.data != NULL)
        payload.bytes = grpc__health__v1__health_check_response__pack(&response, payload.data);
    return payload;
}

static omen_code decode_subject(const omen_message *request, enum health_subject *subject,
                                struct omen_fault *fault)
{
    uint8_t *bytes = omen_message_flatten(request);
    Grpc__Health__V1__HealthCheckRequest *unpacked = NULL;

    if (bytes != NULL)
        unpacked = grpc__health__v1__health_check_request__unpack(NULL, omen_message_bytes(request),
                                                                  bytes);
    free(bytes);
    if (unpacked == NULL)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                              "%zu bytes are not a valid HealthCheckRequest",
                              omen_message_bytes(request));
    *subject = subject_named(unpacked->service);
    if (*subject == SUBJECT_UNKNOWN)
        (void)omen_fault_set(fault, OMEN_NOT_FOUND, "SERVICE_UNKNOWN", "service",
                             "service \"%.64s\" is not one of this server's", unpacked->service);
    grpc__health__v1__health_check_request__free_unpacked(unpacked, NULL);
    return OMEN_OK;
}

/* ---- Check -------------------------------------------------------------------------------- */

static void check(omen_call *call, omen_message *request)
{
    struct omen_health *health = omen_service_health(omen_call_context(call));
    enum health_subject subject = SUBJECT_UNKNOWN;
    struct omen_fault fault = {0};

    (void)decode_subject(request, &subject, &fault);
    omen_message_destroy(request);
    if (fault.code != OMEN_OK) {
        omen_reply_fault(call, &fault);
        return;
    }
    (void)pthread_mutex_lock(&health->lock);
    enum health_status status = status_of(health, subject);
    (void)pthread_mutex_unlock(&health->lock);
    omen_reply_payload(call, encode_status(status));
}

const struct omen_method omen_method_health_check = {.path = "/grpc.health.v1.Health/Check",
                                                     .start = check};

/* ---- Watch -------------------------------------------------------------------------------- */

/* Starts whatever may be started. Under the lock. */
static void watch_step(const struct omen_health *health, struct watch *watch)
{
    struct omen_fault fault = {0};

    if (watch->ended || watch->writing || !watch->asked) return;
    enum health_status status = status_of(health, watch->subject);
    if (status != watch->told) {
        struct omen_payload payload = encode_status(status);

        if (payload.data == NULL) return;
        watch->told = status;
        watch->writing = true;
        omen_call_write(watch->call, payload);
    } else if (health->ending) {
        watch->ended = true;
        (void)omen_fault_set(&fault, OMEN_UNAVAILABLE, "DRAINING", NULL, "the server shuts down");
        omen_reply_fault(watch->call, &fault);
    }
}

static void watch_start(omen_call *call, omen_message *request)
{
    struct omen_health *health = omen_service_health(omen_call_context(call));
    struct watch *watch = calloc(1, sizeof *watch);
    struct omen_fault fault = {0};

    (void)request;
    if (watch == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the watch");
        omen_reply_fault(call, &fault);
        return;
    }
    watch->call = call;
    watch->told = HEALTH_NEVER_TOLD;
    omen_call_set_user(call, watch);
    (void)pthread_mutex_lock(&health->lock);
    watch->next = health->first;
    if (health->first != NULL) health->first->previous = watch;
    health->first = watch;
    (void)pthread_mutex_unlock(&health->lock);
    omen_call_read(call);
}

static void watch_asked(omen_call *call, omen_message *message)
{
    struct omen_health *health = omen_service_health(omen_call_context(call));
    struct watch *watch = omen_call_user(call);
    struct omen_fault fault = {0};

    if (message == NULL)
        (void)omen_fault_set(&fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the call ended before its request");
    else
        (void)decode_subject(message, &watch->subject, &fault);
    omen_message_destroy(message);
    (void)pthread_mutex_lock(&health->lock);
    if (fault.code == OMEN_INVALID_ARGUMENT) { /* an unknown name is told as a status instead */
        watch->ended = true;
        omen_reply_fault(call, &fault);
    }
    watch->asked = true;
    watch_step(health, watch);
    (void)pthread_mutex_unlock(&health->lock);
}

static void watch_written(omen_call *call, bool delivered)
{
    struct omen_health *health = omen_service_health(omen_call_context(call));
    struct watch *watch = omen_call_user(call);

    (void)pthread_mutex_lock(&health->lock);
    watch->writing = false;
    if (!delivered) watch->ended = true;
    watch_step(health, watch);
    (void)pthread_mutex_unlock(&health->lock);
}

static void watch_closed(omen_call *call)
{
    struct omen_health *health = omen_service_health(omen_call_context(call));
    struct watch *watch = omen_call_user(call);

    if (watch == NULL) return;
    (void)pthread_mutex_lock(&health->lock);
    if (watch->next != NULL) watch->next->previous = watch->previous;
    if (watch->previous != NULL)
        watch->previous->next = watch->next;
    else
        health->first = watch->next;
    (void)pthread_mutex_unlock(&health->lock);
    free(watch);
}

const struct omen_method omen_method_health_watch = {.path = "/grpc.health.v1.Health/Watch",
                                                     .stream = true,
                                                     .start = watch_start,
                                                     .message = watch_asked,
                                                     .written = watch_written,
                                                     .closed = watch_closed};

/* ---- the server's side -------------------------------------------------------------------- */

struct omen_health *omen_health_create(void)
{
    struct omen_health *health = calloc(1, sizeof *health);

    if (health != NULL) (void)pthread_mutex_init(&health->lock, NULL);
    return health;
}

void omen_health_destroy(struct omen_health *health)
{
    if (health == NULL) return;
    (void)pthread_mutex_destroy(&health->lock);
    free(health);
}

static void step_all(struct omen_health *health)
{
    for (struct watch *watch = health->first; watch != NULL; watch = watch->next)
        watch_step(health, watch);
}

void omen_health_set(struct omen_health *health, bool serving)
{
    (void)pthread_mutex_lock(&health->lock);
    health->serving = serving;
    step_all(health);
    (void)pthread_mutex_unlock(&health->lock);
}

void omen_health_set_writes(struct omen_health *health, bool taken)
{
    (void)pthread_mutex_lock(&health->lock);
    health->writes_refused = !taken;
    step_all(health);
    (void)pthread_mutex_unlock(&health->lock);
}

void omen_health_end_watches(struct omen_health *health)
{
    (void)pthread_mutex_lock(&health->lock);
    health->ending = true;
    step_all(health);
    (void)pthread_mutex_unlock(&health->lock);
}

/* listener.c - see listener.h. The only file that knows gRPC's C core, whose API promises nothing.
 *
 * One completion queue, one poller thread. For each method one request is armed with the core; when
 * it completes, the next is armed first and the call is served then.
 *
 * An omen_call is counted: one reference for each batch that the core still holds a tag of, and one
 * for the method until it has answered (unary) or has been told `closed` (stream). Batches are
 * started with everything that they need moved into locals, since the tag may complete on the
 * poller before grpc_call_start_batch() has returned.
 *
 * Failure modes: a cancelled call completes its batches unsuccessfully, which is never an error
 * here; a batch that the core refuses to start is a bug of ours and aborts.
 */
#include "service/listener.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/clock.h"

/* Above our own limits, so that clients meet our sentences. */
#define MESSAGE_BYTES_MAX  (16 << 20)
#define METADATA_BYTES_MAX (16 << 10)
/* What a stream may send ahead of being read. gRPC would measure its connection and let each send
 * megabytes, which is memory that no budget of ours counts. */
#define LOOKAHEAD_BYTES      (512 << 10)
#define ARGS_MAX             20
#define DEADLINE_SECONDS_MAX UINT64_C(1000000000) /* further away is never */

/* An omen_code is a grpc_status_code: the mapping is a cast. */
_Static_assert((int)OMEN_OK == (int)GRPC_STATUS_OK, "code");
_Static_assert((int)OMEN_CANCELLED == (int)GRPC_STATUS_CANCELLED, "code");
_Static_assert((int)OMEN_INVALID_ARGUMENT == (int)GRPC_STATUS_INVALID_ARGUMENT, "code");
_Static_assert((int)OMEN_DEADLINE_EXCEEDED == (int)GRPC_STATUS_DEADLINE_EXCEEDED, "code");
_Static_assert((int)OMEN_NOT_FOUND == (int)GRPC_STATUS_NOT_FOUND, "code");
_Static_assert((int)OMEN_ALREADY_EXISTS == (int)GRPC_STATUS_ALREADY_EXISTS, "code");
_Static_assert((int)OMEN_RESOURCE_EXHAUSTED == (int)GRPC_STATUS_RESOURCE_EXHAUSTED, "code");
_Static_assert((int)OMEN_FAILED_PRECONDITION == (int)GRPC_STATUS_FAILED_PRECONDITION, "code");
_Static_assert((int)OMEN_ABORTED == (int)GRPC_STATUS_ABORTED, "code");
_Static_assert((int)OMEN_UNIMPLEMENTED == (int)GRPC_STATUS_UNIMPLEMENTED, "code");
_Static_assert((int)OMEN_INTERNAL == (int)GRPC_STATUS_INTERNAL, "code");
_Static_assert((int)OMEN_UNAVAILABLE == (int)GRPC_STATUS_UNAVAILABLE, "code");
_Static_assert((int)OMEN_DATA_LOSS == (int)GRPC_STATUS_DATA_LOSS, "code");

struct tag {
    void (*complete)(omen_call *call, bool ok);
    omen_call *call; /* NULL: the server's own tag of its shutdown */
};

struct omen_call {
    /* Fixed once the call was accepted. */
    omen_listener *listener;
    const struct omen_method *method;
    void *registered; /* the core's handle of the method; NULL: any other path */
    grpc_call *core;
    char *path;

    /* Written by the core until the accept tag completes, then fixed. */
    grpc_metadata_array metadata;
    grpc_call_details details; /* of an unknown method */
    gpr_timespec deadline;
    grpc_byte_buffer *request;

    /* The method's. */
    void *user;

    /* Any thread. */
    atomic_uint references;
    atomic_bool cancelled;

    /* The thread that writes; writes and the end follow one another. */
    bool initial_sent;
    grpc_metadata trailer;
    grpc_slice status_message;

    /* The poller, from tags; `received` and `was_cancelled` are written by the core before. */
    grpc_byte_buffer *received;
    int was_cancelled;
    bool started;     /* the method knows of the call */
    bool closed_told; /* the method may have freed what the call points to */

    struct tag accept_tag;
    struct tag close_tag;
    struct tag read_tag;
    struct tag write_tag;
    struct tag end_tag;
};

struct omen_listener {
    /* Fixed at start. */
    struct omen_listener_options options;
    void **registered; /* one handle for each method */
    grpc_server *server;
    grpc_completion_queue *queue;
    pthread_t poller;
    uint16_t port;

    /* Under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t calls; /* armed or alive */
    bool stopped;   /* the core has let go of every call and connection */
};

static grpc_server *create_server(const struct omen_config *config);
static omen_code bind_port(omen_listener *listener, const struct omen_config *config,
                           omen_error *err);
static void arm(omen_listener *listener, const struct omen_method *method, void *registered);
static void *poll_events(void *user);
static void on_accept(omen_call *call, bool ok);
static void on_closed(omen_call *call, bool ok);
static void on_read(omen_call *call, bool ok);
static void on_written(omen_call *call, bool ok);
static void on_ended(omen_call *call, bool ok);
static void on_stopped(omen_call *call, bool ok);
static void start_batch(omen_call *call, const grpc_op *ops, size_t count, struct tag *tag);
static size_t add_initial(omen_call *call, grpc_op *ops);
static void add_status(omen_call *call, grpc_op *op, omen_code code);
static void end_call(omen_call *call, const grpc_op *ops, size_t count);
static grpc_byte_buffer *payload_to_buffer(struct omen_payload payload);
static void call_release(omen_call *call);
static bool wait_stopped(omen_listener *listener, uint32_t grace_ms);

/* ---- messages ----------------------------------------------------------------------------- */

/* An omen_message is the core's byte buffer under another name. */
static grpc_byte_buffer *buffer_of(omen_message *message)
{
    return (grpc_byte_buffer *)message;
}

size_t omen_message_bytes(const omen_message *message)
{
    const grpc_byte_buffer *buffer = (const grpc_byte_buffer *)message;

    return buffer->data.raw.slice_buffer.length;
}

bool omen_message_slice(const omen_message *message, size_t index, const uint8_t **data,
                        size_t *bytes)
{
    const grpc_slice_buffer *slices = &((const grpc_byte_buffer *)message)->data.raw.slice_buffer;

    if (index >= slices->count) return false;
    *data = GRPC_SLICE_START_PTR(slices->slices[index]);
    *bytes = GRPC_SLICE_LENGTH(slices->slices[index]);
    return true;
}

void omen_message_destroy(omen_message *message)
{
    if (message != NULL) grpc_byte_buffer_destroy(buffer_of(message));
}

/* ---- calls -------------------------------------------------------------------------------- */

uint64_t omen_call_deadline_ns(const omen_call *call)
{
    gpr_timespec at = gpr_convert_clock_type(call->deadline, GPR_CLOCK_MONOTONIC);
    gpr_timespec now = gpr_now(GPR_CLOCK_MONOTONIC);

    /* The core's monotonic clock need not be the system's: only the difference is taken. */
    if (gpr_time_cmp(at, gpr_inf_future(GPR_CLOCK_MONOTONIC)) >= 0) return UINT64_MAX;
    if (gpr_time_cmp(at, now) <= 0) return omen_clock_ns();
    gpr_timespec left = gpr_time_sub(at, now);
    if ((uint64_t)left.tv_sec > DEADLINE_SECONDS_MAX) return UINT64_MAX;
    return omen_clock_ns() + (uint64_t)left.tv_sec * OMEN_NS_PER_S + (uint64_t)left.tv_nsec;
}

void *omen_call_context(const omen_call *call)
{
    return call->listener->options.context;
}

void *omen_call_user(const omen_call *call)
{
    return call->user;
}

void omen_call_set_user(omen_call *call, void *user)
{
    call->user = user;
}

const char *omen_call_path(const omen_call *call)
{
    return call->path != NULL ? call->path : call->method->path;
}

bool omen_call_cancelled(const omen_call *call)
{
    return atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}

void omen_call_read(omen_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    op.data.recv_message.recv_message = &call->received;
    start_batch(call, &op, 1, &call->read_tag);
}

void omen_call_write(omen_call *call, struct omen_payload message)
{
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = add_initial(call, ops);
    grpc_byte_buffer *buffer = payload_to_buffer(message);

    ops[count] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
    ops[count].data.send_message.send_message = buffer;
    start_batch(call, ops, count + 1, &call->write_tag);
    grpc_byte_buffer_destroy(buffer); /* the core has taken over its slices */
}

void omen_call_reply(omen_call *call, struct omen_payload reply)
{
    grpc_op ops[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = add_initial(call, ops);
    grpc_byte_buffer *buffer = payload_to_buffer(reply);

    ops[count] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
    ops[count++].data.send_message.send_message = buffer;
    add_status(call, &ops[count++], OMEN_OK);
    end_call(call, ops, count);
    grpc_byte_buffer_destroy(buffer);
}

void omen_call_finish(omen_call *call, omen_code code, const char *message,
                      struct omen_payload details)
{
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = add_initial(call, ops);

    call->status_message = grpc_slice_from_copied_string(message);
    add_status(call, &ops[count], code);
    if (details.data != NULL) {
        call->trailer.key = grpc_slice_from_static_string("grpc-status-details-bin");
        call->trailer.value = grpc_slice_new(details.data, details.bytes, free);
        ops[count].data.send_status_from_server.trailing_metadata = &call->trailer;
        ops[count].data.send_status_from_server.trailing_metadata_count = 1;
    }
    end_call(call, ops, count + 1);
}

static void end_call(omen_call *call, const grpc_op *ops, size_t count)
{
    bool unary = !call->method->stream;

    start_batch(call, ops, count, &call->end_tag);
    if (unary) call_release(call); /* the method's own reference */
}

static void start_batch(omen_call *call, const grpc_op *ops, size_t count, struct tag *tag)
{
    atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
    grpc_call_error error = grpc_call_start_batch(call->core, ops, count, tag, NULL);
    if (error != GRPC_CALL_OK) {
        (void)fprintf(stderr, "listener.c: the core refused a batch of %s: %s\n",
                      omen_call_path(call), grpc_call_error_to_string(error));
        abort();
    }
}

/* The first batch that writes carries the initial metadata, so that it costs no write of its own.
 */
static size_t add_initial(omen_call *call, grpc_op *ops)
{
    if (call->initial_sent) return 0;
    call->initial_sent = true;
    ops[0] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    return 1;
}

static void add_status(omen_call *call, grpc_op *op, omen_code code)
{
    *op = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    op->data.send_status_from_server.status = (grpc_status_code)code;
    op->data.send_status_from_server.status_details = &call->status_message;
}

static grpc_byte_buffer *payload_to_buffer(struct omen_payload payload)
{
    grpc_slice slice = payload.data == NULL ? grpc_empty_slice()
                                            : grpc_slice_new(payload.data, payload.bytes, free);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

    grpc_slice_unref(slice);
    return buffer;
}

static void call_release(omen_call *call)
{
    if (atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel) != 1) return;

    omen_listener *listener = call->listener;

    if (call->core != NULL) grpc_call_unref(call->core);
    grpc_byte_buffer_destroy(call->request);
    grpc_byte_buffer_destroy(call->received);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    grpc_slice_unref(call->trailer.key);
    grpc_slice_unref(call->trailer.value);
    grpc_slice_unref(call->status_message);
    gpr_free(call->path);
    free(call);

    (void)pthread_mutex_lock(&listener->lock);
    listener->calls--;
    (void)pthread_cond_broadcast(&listener->changed);
    (void)pthread_mutex_unlock(&listener->lock);
}

/* ---- events, on the poller ---------------------------------------------------------------- */

static void *poll_events(void *user)
{
    omen_listener *listener = user;

    (void)pthread_setname_np(pthread_self(), "omen-poll");
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(listener->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

        if (event.type == GRPC_QUEUE_SHUTDOWN) return NULL;
        if (event.type != GRPC_OP_COMPLETE) continue;
        struct tag *tag = event.tag;
        tag->complete(tag->call, event.success != 0);
    }
}

/* Asks the core for the next call of a method. Without memory for it the method is not served any
 * more, but nothing else is hurt. */
static void arm(omen_listener *listener, const struct omen_method *method, void *registered)
{
    omen_call *call = calloc(1, sizeof *call);
    grpc_call_error error;

    if (call == NULL) return;
    call->listener = listener;
    call->method = method;
    call->registered = registered;
    call->accept_tag = (struct tag){on_accept, call};
    call->close_tag = (struct tag){on_closed, call};
    call->read_tag = (struct tag){on_read, call};
    call->write_tag = (struct tag){on_written, call};
    call->end_tag = (struct tag){on_ended, call};
    call->status_message = grpc_empty_slice();
    call->trailer.key = grpc_empty_slice();
    call->trailer.value = grpc_empty_slice();
    grpc_metadata_array_init(&call->metadata);
    grpc_call_details_init(&call->details);
    atomic_init(&call->references, 1);

    (void)pthread_mutex_lock(&listener->lock);
    listener->calls++;
    (void)pthread_mutex_unlock(&listener->lock);

    if (registered == NULL)
        error =
            grpc_server_request_call(listener->server, &call->core, &call->details, &call->metadata,
                                     listener->queue, listener->queue, &call->accept_tag);
    else
        error = grpc_server_request_registered_call(
            listener->server, registered, &call->core, &call->deadline, &call->metadata,
            method->stream ? NULL : &call->request, listener->queue, listener->queue,
            &call->accept_tag);
    if (error != GRPC_CALL_OK) call_release(call);
}

static void on_accept(omen_call *call, bool ok)
{
    if (!ok) { /* the server shuts down */
        call_release(call);
        return;
    }
    arm(call->listener, call->method, call->registered);
    if (call->registered == NULL) call->path = grpc_slice_to_c_string(call->details.method);

    /* A batch of its own, so that a cancellation is known while the call is being served. */
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    omen_message *request = (omen_message *)call->request;

    op.data.recv_close_on_server.cancelled = &call->was_cancelled;
    call->request = NULL;
    start_batch(call, &op, 1, &call->close_tag);
    if (!call->method->stream && request == NULL) {
        /* The client went away, or sent more than the transport allows, before its request was
         * here: the core has answered, or there is nobody to answer. */
        call_release(call);
        return;
    }
    call->started = true;
    call->method->start(call, request);
}

static void on_closed(omen_call *call, bool ok)
{
    (void)ok;
    if (call->was_cancelled != 0)
        atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
    if (call->method->closed != NULL && call->started) {
        call->closed_told = true;
        call->method->closed(call);
        if (call->method->stream) call_release(call); /* the method's own reference */
    }
    call_release(call);
}

static void on_read(omen_call *call, bool ok)
{
    omen_message *message = (omen_message *)call->received;

    call->received = NULL;
    if (ok && !call->closed_told)
        call->method->message(call, message);
    else
        omen_message_destroy(message); /* `closed` follows, or was told */
    call_release(call);
}

static void on_written(omen_call *call, bool ok)
{
    if (!call->closed_told) call->method->written(call, ok);
    call_release(call);
}

static void on_ended(omen_call *call, bool ok)
{
    (void)ok;
    call_release(call);
}

/* ---- start and stop ----------------------------------------------------------------------- */

omen_code omen_listener_open(const struct omen_listener_options *options, omen_listener **out,
                             omen_error *err)
{
    omen_code code = OMEN_OK;
    omen_listener *listener = calloc(1, sizeof *listener);
    void **registered = calloc(options->method_count, sizeof *registered);

    *out = NULL;
    if (listener == NULL || registered == NULL) {
        free(listener);
        free(registered);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for the listener");
    }
    /* The core's own log is not ours: what matters reaches the caller as an error. */
    (void)setenv("GRPC_VERBOSITY", "NONE", 0);
    grpc_init();
    listener->options = *options;
    listener->registered = registered;
    (void)pthread_mutex_init(&listener->lock, NULL);
    (void)pthread_cond_init(&listener->changed, NULL);
    listener->queue = grpc_completion_queue_create_for_next(NULL);
    listener->server = create_server(options->config);
    grpc_server_register_completion_queue(listener->server, listener->queue, NULL);
    for (size_t i = 0; i < options->method_count; i++)
        registered[i] = grpc_server_register_method(
            listener->server, options->methods[i]->path, NULL,
            options->methods[i]->stream ? GRPC_SRM_PAYLOAD_NONE
                                        : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER,
            0);
    code = bind_port(listener, options->config, err);
    grpc_server_start(listener->server); /* also after a failure: only then can it be shut down */
    if (pthread_create(&listener->poller, NULL, poll_events, listener) != 0) abort();
    if (code != OMEN_OK) {
        omen_listener_close(listener, 0);
        return code;
    }
    for (size_t i = 0; i < options->method_count; i++)
        arm(listener, options->methods[i], registered[i]);
    arm(listener, options->unknown, NULL);
    *out = listener;
    return OMEN_OK;
}

uint16_t omen_listener_port(const omen_listener *listener)
{
    return listener->port;
}

void omen_listener_close(omen_listener *listener, uint32_t grace_ms)
{
    struct tag stopped = {on_stopped, (omen_call *)listener};

    if (listener == NULL) return;
    grpc_server_shutdown_and_notify(listener->server, listener->queue, &stopped);
    if (!wait_stopped(listener, grace_ms)) {
        grpc_server_cancel_all_calls(listener->server);
        while (!wait_stopped(listener, 1000))
            continue;
    }
    /* Searches that nobody waits for may still be running: the queue must outlive their calls. */
    (void)pthread_mutex_lock(&listener->lock);
    while (listener->calls > 0)
        (void)pthread_cond_wait(&listener->changed, &listener->lock);
    (void)pthread_mutex_unlock(&listener->lock);

    grpc_server_destroy(listener->server);
    grpc_completion_queue_shutdown(listener->queue);
    (void)pthread_join(listener->poller, NULL);
    grpc_completion_queue_destroy(listener->queue);
    grpc_shutdown_blocking();
    (void)pthread_cond_destroy(&listener->changed);
    (void)pthread_mutex_destroy(&listener->lock);
    free(listener->registered);
    free(listener);
}

/* The tag of the shutdown carries the listener in the place of a call. */
static void on_stopped(omen_call *call, bool ok)
{
    omen_listener *listener = (omen_listener *)call;

    (void)ok;
    (void)pthread_mutex_lock(&listener->lock);
    listener->stopped = true;
    (void)pthread_cond_broadcast(&listener->changed);
    (void)pthread_mutex_unlock(&listener->lock);
}

static bool wait_stopped(omen_listener *listener, uint32_t grace_ms)
{
    struct timespec until = omen_clock_until(grace_ms);
    bool stopped;

    (void)pthread_mutex_lock(&listener->lock);
    while (!listener->stopped &&
           pthread_cond_timedwait(&listener->changed, &listener->lock, &until) == 0)
        continue;
    stopped = listener->stopped;
    (void)pthread_mutex_unlock(&listener->lock);
    return stopped;
}

/* The core takes 0 for "now" where our settings mean "never". */
static int milliseconds(uint32_t seconds)
{
    return seconds == 0 ? INT_MAX : (int)seconds * 1000;
}

static grpc_server *create_server(const struct omen_config *config)
{
    const struct {
        const char *name;
        int value;
    } settings[] = {
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MESSAGE_BYTES_MAX},
        {GRPC_ARG_MAX_METADATA_SIZE, METADATA_BYTES_MAX},
        {GRPC_ARG_HTTP2_BDP_PROBE, 0},
        {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, LOOKAHEAD_BYTES},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)config->max_streams_per_connection},
        {GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(config->keepalive_seconds)},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(config->keepalive_timeout_seconds)},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
         (int)config->client_ping_seconds_min * 1000},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, milliseconds(config->max_connection_idle_seconds)},
        {GRPC_ARG_MAX_CONNECTION_AGE_MS, milliseconds(config->max_connection_age_seconds)},
        {GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
         milliseconds(config->max_connection_age_grace_seconds)},
        /* Otherwise two servers share a port without a word, and clients meet either. */
        {GRPC_ARG_ALLOW_REUSEPORT, 0},
    };
    size_t count = sizeof settings / sizeof *settings;
    grpc_resource_quota *quota = grpc_resource_quota_create("omendb");
    grpc_arg args[ARGS_MAX];

    _Static_assert(sizeof settings / sizeof *settings < ARGS_MAX, "room for every setting");
    for (size_t i = 0; i < count; i++) {
        args[i].type = GRPC_ARG_INTEGER;
        args[i].key = (char *)(uintptr_t)settings[i].name; /* the core only reads it */
        args[i].value.integer = settings[i].value;
    }
    grpc_resource_quota_resize(quota, (size_t)config->grpc_memory_mib << 20);
    args[count].type = GRPC_ARG_POINTER;
    args[count].key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA;
    args[count].value.pointer.p = quota;
    args[count++].value.pointer.vtable = grpc_resource_quota_arg_vtable();
    grpc_channel_args list = {count, args};
    grpc_server *server = grpc_server_create(&list, NULL);

    grpc_resource_quota_unref(quota);
    return server;
}

static omen_code bind_port(omen_listener *listener, const struct omen_config *config,
                           omen_error *err)
{
    const char *host = config->grpc_host;
    bool bare_ipv6 = strchr(host, ':') != NULL && host[0] != '[';
    grpc_server_credentials *plain = grpc_insecure_server_credentials_create();
    char address[OMEN_CONFIG_TEXT_BYTES + 16];

    (void)snprintf(address, sizeof address, bare_ipv6 ? "[%s]:%u" : "%s:%u", host,
                   (unsigned)config->grpc_port);
    int port = grpc_server_add_http2_port(listener->server, address, plain);
    grpc_server_credentials_release(plain);
    if (port == 0)
        return omen_fail(err, OMEN_UNAVAILABLE,
                         "cannot listen on %s: the port is in use or the host is not this machine",
                         address);
    listener->port = (uint16_t)port;
    return OMEN_OK;
}

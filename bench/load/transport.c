/* transport.c - see transport.h. The only file of the load generator that knows gRPC's C core.
 *
 * A call counts the batches that the core holds; ENDED is told when the status is there and the
 * count is zero, so that destroying the call then is safe. The tag of a batch lies in its call.
 *
 * Failure modes: a peer that vanishes ends the call with a status, like any other end. A batch that
 * the core refuses and memory that is short abort: a benchmark that goes on would tell wrong
 * figures.
 */
#include "bench/load/transport.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/clock.h"

#define CONNECT_SECONDS 10
#define ANSWER_SECONDS  120 /* for a unary call: a server that hangs must not hang us */

enum batch { BATCH_WRITE, BATCH_READ, BATCH_FINISH, BATCH_STATUS, BATCH_ALL, BATCHES };

struct tag {
    omen_load_call *call;
    enum batch batch;
};

struct omen_load_call {
    /* Fixed at start. */
    grpc_call *core;
    void *user;
    struct tag tags[BATCHES];

    /* The connection's thread. */
    uint32_t held; /* batches that the core has not completed */
    bool begun;    /* the first read, which also takes the initial metadata, was asked for */
    bool ended;    /* the status is there */

    /* The core, until the batch completes. */
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *received;
    grpc_status_code status;
    grpc_slice sentence;

    /* The connection's thread: `received` in one piece. */
    grpc_slice message;
    bool has_message;
};

struct omen_load_connection {
    grpc_channel *channel;
    grpc_completion_queue *queue;
};

static omen_code wait_ready(omen_load_connection *connection, const char *target, omen_error *err);
static omen_load_call *create(omen_load_connection *connection, const char *path, int64_t deadline,
                              void *user);
static void start(omen_load_call *call, const grpc_op *ops, size_t count, enum batch batch);
static bool complete(struct tag *tag, bool ok, struct omen_load_event *event);
static bool take_message(omen_load_call *call);
static void drop_message(omen_load_call *call);

static gpr_timespec to_core_time(int64_t deadline)
{
    gpr_timespec now = gpr_now(GPR_CLOCK_MONOTONIC);

    if (deadline == OMEN_LOAD_NEVER) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(now, gpr_time_from_nanos(deadline - omen_load_clock_now(), GPR_TIMESPAN));
}

/* ---- connections -------------------------------------------------------------------------- */

omen_code omen_load_connection_open(const char *target, omen_load_connection **out, omen_error *err)
{
    omen_load_connection *connection = calloc(1, sizeof *connection);
    grpc_arg args[] = {
        /* Otherwise the core gives all channels to one address the same TCP connection. */
        {.type = GRPC_ARG_INTEGER, .key = (char[]){GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL}},
        {.type = GRPC_ARG_INTEGER, .key = (char[]){GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH}},
    };
    const grpc_channel_args list = {.num_args = 2, .args = args};
    omen_code code = OMEN_OK;

    *out = NULL;
    if (connection == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a connection");
    args[0].value.integer = 1;
    args[1].value.integer = -1;
    grpc_init();
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();

    connection->channel = grpc_channel_create(target, credentials, &list);
    connection->queue = grpc_completion_queue_create_for_next(NULL);
    grpc_channel_credentials_release(credentials);
    code = wait_ready(connection, target, err);
    if (code == OMEN_OK)
        *out = connection;
    else
        omen_load_connection_close(connection);
    return code;
}

static omen_code wait_ready(omen_load_connection *connection, const char *target, omen_error *err)
{
    gpr_timespec deadline =
        to_core_time(omen_load_clock_now() + CONNECT_SECONDS * OMEN_LOAD_SECOND);

    for (;;) {
        grpc_connectivity_state state =
            grpc_channel_check_connectivity_state(connection->channel, 1);

        if (state == GRPC_CHANNEL_READY) return OMEN_OK;
        grpc_channel_watch_connectivity_state(connection->channel, state, deadline,
                                              connection->queue, NULL);
        grpc_event event = grpc_completion_queue_next(connection->queue,
                                                      gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

        if (event.success == 0)
            return omen_fail(err, OMEN_UNAVAILABLE, "--target %s: nobody answers within %d seconds",
                             target, CONNECT_SECONDS);
    }
}

void omen_load_connection_close(omen_load_connection *connection)
{
    if (connection == NULL) return;
    grpc_channel_destroy(connection->channel);
    grpc_completion_queue_shutdown(connection->queue);
    while (grpc_completion_queue_next(connection->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL)
               .type != GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(connection->queue);
    grpc_shutdown();
    free(connection);
}

bool omen_load_connection_next(omen_load_connection *connection, int64_t deadline,
                               struct omen_load_event *event)
{
    gpr_timespec until = to_core_time(deadline);

    for (;;) {
        grpc_event core = grpc_completion_queue_next(connection->queue, until, NULL);

        if (core.type != GRPC_OP_COMPLETE) return false;
        if (complete(core.tag, core.success != 0, event)) return true;
    }
}

/* False: nothing that the caller needs to know. */
static bool complete(struct tag *tag, bool ok, struct omen_load_event *event)
{
    omen_load_call *call = tag->call;

    *event = (struct omen_load_event){.call = call, .user = call->user};
    call->held--;
    if (tag->batch == BATCH_STATUS || tag->batch == BATCH_ALL) call->ended = true;
    if (tag->batch == BATCH_ALL) (void)take_message(call);
    if (tag->batch == BATCH_READ && ok && take_message(call)) {
        event->kind = OMEN_LOAD_RECEIVED; /* even after the status: the next read brings ENDED */
        return true;
    }
    if (call->ended && call->held == 0) {
        event->kind = OMEN_LOAD_ENDED;
        return true;
    }
    if (tag->batch == BATCH_WRITE && ok && !call->ended) {
        event->kind = OMEN_LOAD_SENT;
        return true;
    }
    return false;
}

/* ---- calls -------------------------------------------------------------------------------- */

static omen_load_call *create(omen_load_connection *connection, const char *path, int64_t deadline,
                              void *user)
{
    omen_load_call *call = calloc(1, sizeof *call);

    if (call == NULL) abort();
    call->core = grpc_channel_create_call(connection->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                          connection->queue, grpc_slice_from_static_string(path),
                                          NULL, to_core_time(deadline), NULL);
    call->user = user;
    for (uint32_t i = 0; i < BATCHES; i++)
        call->tags[i] = (struct tag){call, (enum batch)i};
    grpc_metadata_array_init(&call->initial);
    grpc_metadata_array_init(&call->trailing);
    call->sentence = grpc_empty_slice();
    return call;
}

static void start(omen_load_call *call, const grpc_op *ops, size_t count, enum batch batch)
{
    call->held++;
    grpc_call_error error = grpc_call_start_batch(call->core, ops, count, &call->tags[batch], NULL);
    if (error != GRPC_CALL_OK) {
        (void)fprintf(stderr, "transport.c: the core refused a batch: %s\n",
                      grpc_call_error_to_string(error));
        abort();
    }
}

static grpc_byte_buffer *to_buffer(struct omen_load_payload payload)
{
    if (payload.data == NULL) abort();

    grpc_slice slice = grpc_slice_new(payload.data, payload.bytes, free);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

    grpc_slice_unref(slice);
    return buffer;
}

static grpc_op status_op(omen_load_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

    op.data.recv_status_on_client.trailing_metadata = &call->trailing;
    op.data.recv_status_on_client.status = &call->status;
    op.data.recv_status_on_client.status_details = &call->sentence;
    return op;
}

void omen_load_call_ask(omen_load_connection *connection, const char *path,
                        struct omen_load_payload request, void *user)
{
    int64_t deadline = omen_load_clock_now() + ANSWER_SECONDS * OMEN_LOAD_SECOND;
    omen_load_call *call = create(connection, path, deadline, user);
    grpc_byte_buffer *buffer = to_buffer(request);
    grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},  {.op = GRPC_OP_SEND_MESSAGE},
                      {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, {.op = GRPC_OP_RECV_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_MESSAGE},           status_op(call)};

    ops[1].data.send_message.send_message = buffer;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
    ops[4].data.recv_message.recv_message = &call->received;
    start(call, ops, 6, BATCH_ALL);
    grpc_byte_buffer_destroy(buffer); /* the core has taken over its slices; `call` may be gone */
}

omen_code omen_load_call_wait(omen_load_connection *connection, const char *path,
                              struct omen_load_payload request, omen_error *err)
{
    struct omen_load_event event;

    omen_load_call_ask(connection, path, request, NULL);
    while (!omen_load_connection_next(connection, OMEN_LOAD_NEVER, &event))
        continue;
    omen_code code = omen_load_call_status(event.call, err);

    omen_load_call_destroy(event.call);
    return code;
}

omen_load_call *omen_load_call_stream(omen_load_connection *connection, const char *path,
                                      void *user)
{
    omen_load_call *call = create(connection, path, OMEN_LOAD_NEVER, user);
    grpc_op initial = {.op = GRPC_OP_SEND_INITIAL_METADATA};
    grpc_op status = status_op(call);

    start(call, &initial, 1, BATCH_FINISH); /* a batch of which nothing needs to be known */
    start(call, &status, 1, BATCH_STATUS);
    omen_load_call_receive(call);
    return call;
}

void omen_load_call_send(omen_load_call *call, struct omen_load_payload message)
{
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    grpc_byte_buffer *buffer = to_buffer(message);

    op.data.send_message.send_message = buffer;
    start(call, &op, 1, BATCH_WRITE);
    grpc_byte_buffer_destroy(buffer);
}

void omen_load_call_finish(omen_load_call *call)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

    start(call, &op, 1, BATCH_FINISH);
}

void omen_load_call_cancel(omen_load_call *call)
{
    (void)grpc_call_cancel(call->core, NULL);
}

void omen_load_call_receive(omen_load_call *call)
{
    grpc_op ops[2] = {{.op = GRPC_OP_RECV_MESSAGE}, {.op = GRPC_OP_RECV_INITIAL_METADATA}};

    drop_message(call);
    ops[0].data.recv_message.recv_message = &call->received;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
    start(call, ops, call->begun ? 1 : 2, BATCH_READ);
    call->begun = true;
}

static bool take_message(omen_load_call *call)
{
    grpc_byte_buffer_reader reader;

    if (call->received == NULL || grpc_byte_buffer_reader_init(&reader, call->received) == 0)
        return false;
    call->message = grpc_byte_buffer_reader_readall(&reader);
    call->has_message = true;
    grpc_byte_buffer_reader_destroy(&reader);
    return true;
}

static void drop_message(omen_load_call *call)
{
    if (call->has_message) grpc_slice_unref(call->message);
    call->has_message = false;
    grpc_byte_buffer_destroy(call->received);
    call->received = NULL;
}

struct omen_load_bytes omen_load_call_message(const omen_load_call *call)
{
    if (!call->has_message) return (struct omen_load_bytes){0};
    return (struct omen_load_bytes){GRPC_SLICE_START_PTR(call->message),
                                    GRPC_SLICE_LENGTH(call->message)};
}

omen_code omen_load_call_status(const omen_load_call *call, omen_error *err)
{
    char *sentence = NULL;
    omen_code code = OMEN_OK;

    if (call->status == GRPC_STATUS_OK) return OMEN_OK;
    sentence = grpc_slice_to_c_string(call->sentence);
    /* An omen_code has gRPC's own value. */
    code = omen_fail(err, (omen_code)call->status, "the server says: status %d: %s",
                     (int)call->status, sentence);
    gpr_free(sentence);
    return code;
}

void omen_load_call_destroy(omen_load_call *call)
{
    drop_message(call);
    grpc_call_unref(call->core);
    grpc_metadata_array_destroy(&call->initial);
    grpc_metadata_array_destroy(&call->trailing);
    grpc_slice_unref(call->sentence);
    free(call);
}

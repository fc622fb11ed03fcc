/* insert_stream.c - what an insert stream does next; see insert_stream.h.
 *
 * - Back-pressure is the read that is not posted while the engine has no room, or while all streams
 *   together hold more than their budget.
 * - Acks are cumulative and at most one answer is on its way, so a client that never reads costs
 *   the server one Ack, and holds up nobody but itself.
 * - Item errors stay in the engine until there is an Ack to carry them, so many in each.
 * - A stream that is to end is told once by a Drain, takes nothing more, gets the Acks of what it
 *   has, and ends with UNAVAILABLE. One whose client has half-closed just ends as it would have.
 */
#include "service/insert_stream.h"

#include <inttypes.h>

#include "service/clock.h"
#include "service/metrics.h"

#define ACK_ERRORS_MAX    256u /* item errors of one Ack: about 40 KiB */
#define RETRY_SHUTDOWN_MS 1000u
/* Acks say more, or less, when the stream has shown its pace. */
#define CREDIT_BYTES_START (8u << 20)

static void write_next(struct omen_insert_stream *insert, const struct omen_stream_state *state);
static void write_ack(struct omen_insert_stream *insert, const struct omen_stream_state *state);
static void write_answer(struct omen_insert_stream *insert, struct omen_payload payload);
static void end(struct omen_insert_stream *insert, const struct omen_fault *fault);

void omen_insert_stream_pump(struct omen_insert_stream *insert)
{
    (void)pthread_mutex_lock(&insert->lock);
    omen_insert_stream_pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

static omen_code fault_drained(const struct omen_insert_stream *insert, uint64_t next_seq,
                               struct omen_fault *fault)
{
    return omen_fault_set(fault, OMEN_UNAVAILABLE, "DRAINING", NULL,
                          insert->draining == OMEN_DRAIN_SHUTDOWN
                              ? "the server shuts down: resume the session at another from chunk "
                                "%" PRIu64
                              : "the stream has reached its age: open its session again and go on "
                                "from chunk %" PRIu64,
                          next_seq);
}

static void post_read(struct omen_insert_stream *insert, const struct omen_stream_state *state)
{
    if (insert->ended || insert->reading || insert->half_closed || insert->draining != 0 ||
        !state->room)
        return;
    if (!insert->turn && !omen_inserts_may_read(insert->all, &insert->entry)) return;
    insert->turn = false;
    insert->reading = true;
    omen_call_read(insert->call);
}

void omen_insert_stream_pump_locked(struct omen_insert_stream *insert)
{
    struct omen_stream_state state;

    if (insert->ended) return;
    if (insert->stream == NULL) {
        if (insert->draining != 0 && insert->fault.code == OMEN_OK)
            (void)fault_drained(insert, 1, &insert->fault);
        if (insert->fault.code != OMEN_OK) end(insert, &insert->fault);
        return;
    }
    omen_stream_poll(insert->stream, &state);
    omen_inserts_account(insert->all, &insert->entry, state.queued_bytes);
    if (state.code != OMEN_OK && insert->fault.code == OMEN_OK) {
        insert->fault.code = state.code;
        insert->fault.error = state.error;
    }
    if (insert->fault.code != OMEN_OK) {
        if (!insert->writing) end(insert, &insert->fault);
        return;
    }
    if (!state.opened) return;
    if (!insert->writing) write_next(insert, &state);
    post_read(insert, &state);
}

/* Opened, then Acks, with one Drain between them if there must be. */
static void write_next(struct omen_insert_stream *insert, const struct omen_stream_state *state)
{
    struct omen_drain drain = {.reason = insert->draining, .received_seq = state->received_seq};

    if (!insert->opened_sent) {
        struct omen_opened opened = {.state = *state, .info = insert->info};

        opened.credit_bytes = omen_inserts_credit(insert->all, 0, state->room);
        if (opened.credit_bytes > CREDIT_BYTES_START) opened.credit_bytes = CREDIT_BYTES_START;
        insert->opened_sent = true;
        insert->durable_told = state->durable_seq;
        insert->searchable_told = state->searchable_seq;
        /* What an earlier stream of the session was not told. */
        insert->ack_wanted = state->errors_from_seq < state->next_seq;
        write_answer(insert, omen_reply_opened(&opened));
        return;
    }
    /* Not while a chunk is being taken: the Drain tells which was the last. */
    if (insert->draining != 0 && !insert->drain_sent && !insert->half_closed) {
        if (insert->working) return;
        if (insert->draining == OMEN_DRAIN_SHUTDOWN) drain.retry_after_ms = RETRY_SHUTDOWN_MS;
        insert->drain_sent = true;
        omen_metrics_count_drain(insert->metrics);
        write_answer(insert, omen_reply_drain(&drain));
        return;
    }
    write_ack(insert, state);
}

static bool is_news(const struct omen_insert_stream *insert, const struct omen_stream_state *state)
{
    return insert->ack_wanted || state->durable_seq != insert->durable_told ||
           state->searchable_seq != insert->searchable_told;
}

/* An Ack of all that is known, if there is news; the last one if nothing more will come and all
 * that came is searchable. */
static void write_ack(struct omen_insert_stream *insert, const struct omen_stream_state *state)
{
    struct omen_item_error errors[ACK_ERRORS_MAX];
    bool last = (insert->half_closed || insert->draining != 0) && !insert->working &&
                state->searchable_seq >= state->received_seq;

    if (!last && !is_news(insert, state)) return;
    struct omen_ack ack = {
        .received_seq = state->received_seq,
        .durable_seq = state->durable_seq,
        .searchable_seq = state->searchable_seq,
        .log_position = state->log_position,
        .credit_bytes = omen_inserts_credit(insert->all, state->queued_bytes, state->room),
        .errors = errors,
        .dim = insert->info.settings.dim,
    };
    ack.error_count =
        omen_stream_take_errors(insert->stream, errors, ACK_ERRORS_MAX, &ack.errors_complete_seq);
    omen_metrics_count_item_errors(insert->metrics, ack.error_count);
    insert->ack_wanted = ack.error_count == ACK_ERRORS_MAX;
    insert->durable_told = ack.durable_seq;
    insert->searchable_told = ack.searchable_seq;
    last = last && !insert->ack_wanted;
    if (last && insert->half_closed) {
        insert->ended = true;
        omen_reply_payload(insert->call, omen_reply_ack(&ack));
        return;
    }
    if (last) (void)fault_drained(insert, state->received_seq + 1, &insert->fault);
    write_answer(insert, omen_reply_ack(&ack));
}

static void write_answer(struct omen_insert_stream *insert, struct omen_payload payload)
{
    struct omen_fault fault;

    if (payload.data != NULL) {
        insert->writing = true;
        insert->written_ns = omen_clock_ns();
        omen_call_write(insert->call, payload);
        return;
    }
    (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                         "no memory for an answer");
    end(insert, &fault);
}

/* Sends the status, without the last word of an Ack. */
static void end(struct omen_insert_stream *insert, const struct omen_fault *fault)
{
    insert->ended = true;
    omen_reply_fault(insert->call, fault);
}

/* ---- nudges ------------------------------------------------------------------------------- */

static void tick(struct omen_insert_stream *insert)
{
    uint64_t now = omen_clock_ns();

    if (insert->draining == 0 && now - insert->started_ns >= omen_inserts_max_age_ns(insert->all))
        insert->draining = OMEN_DRAIN_MAX_AGE;
    if (insert->opened_sent && !insert->writing &&
        now - insert->written_ns >= omen_inserts_heartbeat_ns(insert->all))
        insert->ack_wanted = true;
}

void omen_insert_stream_nudge(struct omen_insert_entry *entry, enum omen_insert_nudge nudge)
{
    struct omen_insert_stream *insert = (struct omen_insert_stream *)(void *)entry;

    (void)pthread_mutex_lock(&insert->lock);
    switch (nudge) {
    case OMEN_NUDGE_TICK:
        tick(insert);
        break;
    case OMEN_NUDGE_ROOM:
        insert->turn = true;
        break;
    case OMEN_NUDGE_DRAIN:
        if (insert->draining == 0) insert->draining = OMEN_DRAIN_SHUTDOWN;
        break;
    }
    omen_insert_stream_pump_locked(insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

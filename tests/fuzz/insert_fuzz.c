/* insert_fuzz.c - the bytes of an InsertRequest, into the decoder and on into a real collection.
 *
 * Each input is decoded as the first message of a stream and as a later one, twice as a later one:
 * in one slice and cut into slices, over memory with other contents. Both must give the same. What
 * was decoded is pushed into a stream of some mode, then into one of mode INSERT_ONLY, and taker.h
 * checks what became of it.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/chunk.h"
#include "service/decode.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/message.h"
#include "tests/fuzz/taker.h"

static omen_code decode(const omen_message *message, omen_stream *stream, int filling,
                        struct omen_insert_request *out)
{
    struct omen_points_target into = {.stream = stream, .dim = stream == NULL ? 0 : PLACE_DIM};
    struct omen_fault fault = {0};

    fuzz_filling = filling;
    omen_code code = omen_decode_insert(message, &into, out, &fault);
    fuzz_filling = -1;
    if (code == OMEN_OK) {
        FUZZ_CHECK(out->kind >= OMEN_INSERT_OPEN && out->kind <= OMEN_INSERT_FLUSH, "kind %d",
                   (int)out->kind);
        FUZZ_CHECK((out->chunk != NULL) == (out->kind == OMEN_INSERT_CHUNK), "a chunk, or none");
    } else {
        fuzz_check_fault(&fault, code);
        FUZZ_CHECK(out->chunk == NULL, "a chunk in spite of the fault: %s", fault.error.message);
    }
    return code;
}

/* As the service does with what was asked for. */
static void try_open(const struct omen_insert_open *open)
{
    struct omen_stream_options options = {.mode = open->mode,
                                          .errors_seen_seq = open->errors_seen_seq};
    omen_collection *collection = NULL;
    struct place_stream stream;
    omen_error err = {0};
    omen_code code = omen_collection_acquire(place_engine(), open->collection, &collection, &err);

    memcpy(options.session_id, open->session_id, sizeof options.session_id);
    if (code == OMEN_OK) code = place_stream_open(&stream, collection, &options, &err);
    if (code == OMEN_OK)
        place_stream_close(&stream);
    else
        fuzz_check_error(&err, code);
    omen_collection_release(collection);
}

static void decode_as_first(const omen_message *message)
{
    struct omen_insert_request request;

    if (decode(message, NULL, -1, &request) != OMEN_OK) return;
    FUZZ_CHECK(request.kind != OMEN_INSERT_CHUNK, "a chunk before the stream was opened");
    if (request.kind == OMEN_INSERT_OPEN) try_open(&request.open);
}

static void decode_as_later(const omen_message *whole, const omen_message *cut, struct taker *taker,
                            omen_write_mode mode)
{
    struct place_stream *stream = taker_stream(taker, mode);
    struct omen_insert_request a;
    struct omen_insert_request b;
    omen_code code_a = decode(whole, stream->stream, 0x00, &a);
    omen_code code_b = decode(cut, stream->stream, 0x41, &b);

    FUZZ_CHECK(code_a == code_b && a.kind == b.kind && a.seq == b.seq && a.points == b.points &&
                   a.deletes == b.deletes,
               "another request in slices");
    if (a.chunk == NULL) return;
    taker_check_same(a.chunk, b.chunk);
    omen_chunk_destroy(a.chunk);
    FUZZ_CHECK(b.chunk->count + b.chunk->delete_count + b.chunk->error_count ==
                   b.points + b.deletes,
               "%u points and %u deletes, but %u and %u are good and %u refused", b.points,
               b.deletes, b.chunk->count, b.chunk->delete_count, b.chunk->error_count);
    taker_push(taker, stream, b.chunk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t hash = fuzz_hash(data, size);
    omen_message *whole = fuzz_message_create(data, size, 0);
    omen_message *cut = fuzz_message_create(data, size, hash | 1);

    (void)place_engine();
    decode_as_first(cut);
    struct taker *taker = taker_choose(hash);
    decode_as_later(whole, cut, taker,
                    (omen_write_mode)(OMEN_WRITE_INSERT_ONLY + hash / 3 % TAKER_MODES));
    decode_as_later(whole, cut, taker, OMEN_WRITE_INSERT_ONLY); /* now some are there */
    omen_message_destroy(whole);
    omen_message_destroy(cut);
    return 0;
}

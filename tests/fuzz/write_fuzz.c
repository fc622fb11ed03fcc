/* write_fuzz.c - the bytes of an UpsertRequest, a DeleteRequest and a GetRequest: each input is
 * read as all three, in one slice and cut into slices, over memory with other contents.
 *
 * What was decoded is done, each write in a stream of its own without a session, as the service
 * does it; taker.h checks what became of it.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/chunk.h"
#include "service/decode.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/message.h"
#include "tests/fuzz/taker.h"

struct pair {
    const omen_message *whole, *cut;
};

static omen_code decode_items(const omen_message *message, enum omen_write_kind kind,
                              omen_stream *stream, int filling, struct omen_write_items *out)
{
    struct omen_points_target into = {.stream = stream, .dim = PLACE_DIM};
    struct omen_fault fault = {0};

    fuzz_filling = filling;
    omen_code code = omen_decode_write_items(message, kind, &into, out, &fault);
    fuzz_filling = -1;
    if (code != OMEN_OK) fuzz_check_fault(&fault, code);
    FUZZ_CHECK((code == OMEN_OK) == (out->chunk != NULL), "a chunk, or a fault");
    return code;
}

static void write_items(const struct pair *pair, const struct omen_write_request *request,
                        struct taker *taker)
{
    struct omen_stream_options options = {.mode = request->mode, .sessionless = true};
    struct place_stream stream;
    struct omen_write_items a;
    struct omen_write_items b;
    omen_error err = {0};

    FUZZ_CHECK(place_stream_open(&stream, taker->collection, &options, &err) == OMEN_OK, "%s",
               err.message);
    omen_code code_a = decode_items(pair->whole, request->kind, stream.stream, 0x00, &a);
    omen_code code_b = decode_items(pair->cut, request->kind, stream.stream, 0x41, &b);
    FUZZ_CHECK(code_a == code_b && a.points == b.points && a.deletes == b.deletes,
               "other items in slices");
    if (code_a == OMEN_OK) {
        FUZZ_CHECK(request->kind == OMEN_WRITE_POINTS ? b.deletes == 0 && b.points > 0
                                                      : b.points == 0 && b.deletes > 0,
                   "%u points, %u deletes", b.points, b.deletes);
        taker_check_same(a.chunk, b.chunk);
        omen_chunk_destroy(a.chunk);
        taker_push(taker, &stream, b.chunk);
    }
    place_stream_close(&stream);
}

static void try_write(const struct pair *pair, enum omen_write_kind kind, struct taker *taker)
{
    struct omen_write_request a;
    struct omen_write_request b;
    struct omen_fault fault = {0};
    omen_code code = omen_decode_write(pair->whole, kind, &a, &fault);

    if (code != OMEN_OK) fuzz_check_fault(&fault, code);
    FUZZ_CHECK(omen_decode_write(pair->cut, kind, &b, &fault) == code, "another code in slices");
    if (code != OMEN_OK) return;
    FUZZ_CHECK(strcmp(a.collection, b.collection) == 0 && a.mode == b.mode &&
                   a.wait_durable == b.wait_durable && a.kind == kind,
               "another request in slices");
    FUZZ_CHECK(a.mode >= OMEN_WRITE_INSERT_ONLY && a.mode <= OMEN_WRITE_UPDATE_ONLY, "mode %d",
               (int)a.mode);
    write_items(pair, &b, taker);
}

static void try_get(const struct pair *pair, struct taker *taker)
{
    struct omen_points_get a;
    struct omen_points_get b;
    struct omen_fault fault = {0};
    omen_code code = omen_decode_points_get(pair->whole, &a, &fault);

    if (code != OMEN_OK) fuzz_check_fault(&fault, code);
    FUZZ_CHECK(omen_decode_points_get(pair->cut, &b, &fault) == code, "another code in slices");
    if (code == OMEN_OK) {
        FUZZ_CHECK(strcmp(a.collection, b.collection) == 0 && a.count == b.count && a.count > 0 &&
                       a.without_vectors == b.without_vectors,
                   "another request in slices");
        for (uint32_t i = 0; i < a.count; i++)
            FUZZ_CHECK(omen_id_compare(&a.ids[i].id, &b.ids[i].id) == 0, "other ids in slices");
        taker_get(taker, &b);
    }
    free(a.ids);
    free(b.ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t hash = fuzz_hash(data, size);
    struct taker *taker = taker_choose(hash);
    omen_message *whole = fuzz_message_create(data, size, 0);
    omen_message *cut = fuzz_message_create(data, size, hash | 1);
    struct pair pair = {whole, cut};

    try_write(&pair, OMEN_WRITE_POINTS, taker);
    try_get(&pair, taker);
    try_write(&pair, OMEN_WRITE_DELETES, taker);
    try_get(&pair, taker);
    omen_message_destroy(whole);
    omen_message_destroy(cut);
    return 0;
}

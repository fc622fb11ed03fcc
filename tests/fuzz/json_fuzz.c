/* json_fuzz.c - bodies of the HTTP port: every body is read as a create, an update, a search, an
 * insert, an upsert, a delete and a get.
 *
 * Searches run, points go in and out, as with the other targets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chunk.h"
#include "service/base64.h"
#include "service/decode_json.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/taker.h"

static void read_create(const omen_json *json)
{
    struct omen_create_request request;
    struct omen_fault fault = {0};
    omen_code code = omen_json_read_create(json, &request, &fault);

    if (code != OMEN_OK) fuzz_check_fault(&fault, code);
}

static void read_update(const omen_json *json)
{
    struct omen_update_request request = {.name = "filled"};
    struct omen_fault fault = {0};
    omen_code code = omen_json_read_update(json, &request, &fault);

    if (code != OMEN_OK) fuzz_check_fault(&fault, code);
}

/* Twice, over memory with other contents. */
static omen_code read_queries(const omen_json *json, const struct omen_search_request *wanted,
                              struct omen_search_run *run, struct omen_fault *fault)
{
    size_t bytes = (size_t)wanted->count * PLACE_DIM * sizeof(float);
    struct omen_search_rows first = {.dim = PLACE_DIM,
                                     .rows = malloc(bytes),
                                     .each = malloc(wanted->count * sizeof *first.each)};

    FUZZ_CHECK(first.rows != NULL && first.each != NULL, "no memory for %zu bytes", bytes);
    memset(first.rows, 0x41, bytes);
    memset(run->rows.rows, 0x00, bytes);
    omen_code code = omen_json_read_queries(json, wanted, &first, fault);
    FUZZ_CHECK(omen_json_read_queries(json, wanted, &run->rows, fault) == code,
               "another code the second time");
    for (uint32_t i = 0; code == OMEN_OK && i < wanted->count; i++)
        FUZZ_CHECK(first.each[i].refusal == run->rows.each[i].refusal &&
                       (first.each[i].refusal != 0 || memcmp(first.rows + (size_t)i * PLACE_DIM,
                                                             run->rows.rows + (size_t)i * PLACE_DIM,
                                                             PLACE_DIM * sizeof(float)) == 0),
                   "query %u is another, or nobody wrote all of it", i);
    free(first.rows);
    free(first.each);
    return code;
}

static void read_search(const omen_json *json)
{
    struct omen_search_request wanted = {.collection = "filled"};
    struct omen_search_run run = {0};
    struct omen_fault fault = {0};

    fault.code = omen_json_read_search(json, &wanted, &fault);
    if (fault.code == OMEN_OK)
        fault.code = omen_search_run_init(&run, place_engine(), &wanted, place_budget(), &fault);
    if (fault.code == OMEN_OK) fault.code = read_queries(json, &wanted, &run, &fault);
    if (fault.code == OMEN_OK) {
        place_search(&run, false);
        return;
    }
    fuzz_check_fault(&fault, fault.code);
    omen_search_run_deinit(&run);
}

static void push_chunks(const struct omen_json_write *write, const struct omen_json_chunks *out,
                        struct taker *taker)
{
    for (uint32_t first = 0; first < write->items; first += out->chunk_items) {
        omen_chunk *chunk = out->chunks[first / out->chunk_items];
        uint32_t items =
            write->items - first < out->chunk_items ? write->items - first : out->chunk_items;

        FUZZ_CHECK(chunk != NULL &&
                       chunk->count + chunk->delete_count + chunk->error_count == items,
                   "the chunk from item %u on lost some", first);
        FUZZ_CHECK(omen_chunk_bytes(chunk) <= OMEN_RECORD_BYTES_MAX, "%zu bytes of a record",
                   omen_chunk_bytes(chunk));
        taker_push(taker, taker_stream(taker, write->mode), chunk);
    }
}

/* Chunks of a few items, so that small bodies have several; over memory that is not zero. */
static void read_write(const omen_json *json, enum omen_json_write_kind kind, struct taker *taker)
{
    struct omen_points_target target = {.dim = PLACE_DIM};
    struct omen_json_chunks chunks = {.target = &target};
    struct omen_json_write wanted;
    struct omen_fault fault = {0};

    fault.code = omen_json_read_write(json, kind, &wanted, &fault);
    if (fault.code != OMEN_OK) {
        fuzz_check_fault(&fault, fault.code);
        return;
    }
    target.stream = taker_stream(taker, wanted.mode)->stream;
    chunks.chunk_items = omen_json_chunk_items(&wanted, PLACE_DIM);
    FUZZ_CHECK(chunks.chunk_items > 0 && chunks.chunk_items <= wanted.items, "%u items to a chunk",
               chunks.chunk_items);
    if (wanted.items < 64 && chunks.chunk_items > 3) chunks.chunk_items = 3;
    uint32_t count = (wanted.items + chunks.chunk_items - 1) / chunks.chunk_items;
    chunks.chunks = calloc(count, sizeof(omen_chunk *));
    FUZZ_CHECK(chunks.chunks != NULL, "no memory for %u chunks", count);
    fuzz_filling = 0x41;
    fault.code = omen_json_read_items(json, &wanted, &chunks, &fault);
    fuzz_filling = -1;
    if (fault.code == OMEN_OK) {
        push_chunks(&wanted, &chunks, taker);
    } else {
        fuzz_check_fault(&fault, fault.code);
        for (uint32_t i = 0; i < count; i++)
            omen_chunk_destroy(chunks.chunks[i]);
    }
    free(chunks.chunks);
}

static void read_get(const omen_json *json, struct taker *taker)
{
    struct omen_points_get wanted = {.collection = "l2"};
    struct omen_fault fault = {0};

    fault.code = omen_json_read_get(json, &wanted, &fault);
    if (fault.code == OMEN_OK)
        taker_get(taker, &wanted);
    else
        fuzz_check_fault(&fault, fault.code);
    free(wanted.ids);
}

/* The input's first bytes as a key, there and back; and as a text, which may be none. */
static void try_base64(const uint8_t *data, size_t size, const char *text)
{
    char there[OMEN_BASE64_BYTES(OMEN_KEY_BYTES_MAX)];
    uint8_t back[OMEN_KEY_BYTES_MAX];
    size_t bytes = 0;

    (void)omen_base64_decode(text, back, sizeof back, &bytes);
    if (size > sizeof back) size = sizeof back;
    omen_base64_encode(data, size, there);
    FUZZ_CHECK(omen_base64_decode(there, back, sizeof back, &bytes) && bytes == size &&
                   memcmp(data, back, size) == 0,
               "%zu bytes of base64 are %zu others", size, bytes);
}

static void read_all(const omen_json *json, uint64_t hash)
{
    static bool begun;
    struct taker *taker = taker_choose(hash);

    if (!begun) omen_collection_release(place_filled("filled", PLACE_DIM, OMEN_METRIC_L2, 200));
    begun = true;
    read_create(json);
    read_update(json);
    read_search(json);
    read_write(json, OMEN_JSON_INSERT, taker);
    read_write(json, OMEN_JSON_UPSERT, taker);
    read_get(json, taker);
    read_write(json, OMEN_JSON_DELETE, taker);
    read_get(json, taker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct omen_fault fault = {0};
    char *body = malloc(size + 1); /* as the listener keeps it: with a NUL behind */

    FUZZ_CHECK(body != NULL, "no memory for %zu bytes", size);
    memcpy(body, data, size);
    body[size] = '\0';
    try_base64(data, size, body);
    omen_json *json = omen_json_parse(body, size, &fault);
    if (json == NULL)
        fuzz_check_fault(&fault, fault.code);
    else
        read_all(json, fuzz_hash(data, size));
    omen_json_destroy(json);
    free(body);
    return 0;
}

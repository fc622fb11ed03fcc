/* search_fuzz.c - the bytes of a SearchRequest, into the decoder and on into a real search.
 *
 * Decoded in one slice and cut into slices, the queries over memory with other contents: both must
 * give the same. What was decoded is searched for, the results are checked and encoded.
 */
#include <stdlib.h>
#include <string.h>

#include "service/decode.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/message.h"
#include "tests/fuzz/place.h"

static void begin(void)
{
    static bool begun;

    if (begun) return;
    begun = true;
    /* Large enough for cells and a walk; small enough to be scanned; without a point. */
    omen_collection_release(place_filled("l2", PLACE_DIM, OMEN_METRIC_L2, 2000));
    omen_collection_release(place_filled("cosine", 3, OMEN_METRIC_COSINE, 40));
    omen_collection_release(place_collection("empty", PLACE_DIM, OMEN_METRIC_INNER_PRODUCT));
}

static omen_code decode(const omen_message *message, struct omen_search_request *out)
{
    struct omen_fault fault = {0};
    omen_code code = omen_decode_search(message, out, &fault);

    if (code != OMEN_OK) fuzz_check_fault(&fault, code);
    return code;
}

static omen_code decode_queries(const omen_message *message,
                                const struct omen_search_request *wanted,
                                const struct omen_search_rows *rows)
{
    struct omen_fault fault = {0};
    omen_code code = omen_decode_queries(message, wanted, rows, &fault);

    if (code != OMEN_OK) fuzz_check_fault(&fault, code);
    return code;
}

static void check_same_options(const struct omen_query_options *a,
                               const struct omen_query_options *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        FUZZ_CHECK(a[i].k == b[i].k && a[i].ef == b[i].ef && a[i].exact == b[i].exact &&
                       a[i].refusal == b[i].refusal && a[i].detail == b[i].detail,
                   "query %u has other options in slices", i);
}

/* Both readings of the queries, the first into blocks that are exact: the run's are rounded up. */
static void read_and_run(const omen_message *whole, const omen_message *cut,
                         const struct omen_search_request *wanted, struct omen_search_run *run)
{
    size_t bytes = (size_t)wanted->count * run->rows.dim * sizeof(float);
    struct omen_search_rows first = {.dim = run->rows.dim,
                                     .rows = malloc(bytes),
                                     .each = malloc(wanted->count * sizeof *first.each)};

    FUZZ_CHECK(first.rows != NULL && first.each != NULL, "no memory for %zu bytes", bytes);
    memset(first.rows, 0x41, bytes);
    memset(first.each, 0x41, wanted->count * sizeof *first.each);
    memset(run->rows.rows, 0x00, bytes);
    omen_code code = decode_queries(whole, wanted, &first);
    FUZZ_CHECK(decode_queries(cut, wanted, &run->rows) == code, "another code in slices");
    if (code == OMEN_OK) {
        check_same_options(first.each, run->rows.each, wanted->count);
        for (uint32_t i = 0; i < wanted->count; i++)
            FUZZ_CHECK(first.each[i].refusal != 0 || memcmp(first.rows + (size_t)i * first.dim,
                                                            run->rows.rows + (size_t)i * first.dim,
                                                            first.dim * sizeof(float)) == 0,
                       "query %u is another in slices, or nobody wrote all of it", i);
        place_search(run, wanted->columns);
    } else {
        omen_search_run_deinit(run);
    }
    free(first.rows);
    free(first.each);
}

/* No input can guess an incarnation: half of the tokens get the right one. */
static void mend_token(struct omen_search_request *wanted, uint64_t hash)
{
    struct omen_collection_info info;
    omen_collection *collection = NULL;
    omen_error err = {0};

    if (!wanted->min_read.given || (hash & 2) == 0 ||
        omen_collection_acquire(place_engine(), wanted->collection, &collection, &err) != OMEN_OK)
        return;
    omen_collection_get_info(collection, &info);
    memcpy(wanted->min_read.incarnation, info.incarnation, sizeof info.incarnation);
    omen_collection_release(collection);
}

static void search(const omen_message *whole, const omen_message *cut,
                   const struct omen_search_request *wanted)
{
    struct omen_search_run run = {0};
    struct omen_fault fault = {0};

    fault.code = omen_search_run_init(&run, place_engine(), wanted, place_budget(), &fault);
    if (fault.code == OMEN_OK) {
        read_and_run(whole, cut, wanted, &run);
        return;
    }
    fuzz_check_fault(&fault, fault.code);
    omen_search_run_deinit(&run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    omen_message *whole = fuzz_message_create(data, size, 0);
    omen_message *cut = fuzz_message_create(data, size, fuzz_hash(data, size) | 1);
    struct omen_search_request a;
    struct omen_search_request b;

    begin();
    omen_code code = decode(whole, &a);
    FUZZ_CHECK(decode(cut, &b) == code, "another code in slices");
    if (code == OMEN_OK) {
        check_same_options(&a.options, &b.options, 1);
        FUZZ_CHECK(strcmp(a.collection, b.collection) == 0 && a.columns == b.columns &&
                       a.count == b.count && a.min_read.given == b.min_read.given &&
                       a.min_read.log_position == b.min_read.log_position &&
                       memcmp(a.min_read.incarnation, b.min_read.incarnation,
                              sizeof a.min_read.incarnation) == 0,
                   "another request in slices");
        mend_token(&b, fuzz_hash(data, size));
        search(whole, cut, &b);
    }
    omen_message_destroy(whole);
    omen_message_destroy(cut);
    return 0;
}

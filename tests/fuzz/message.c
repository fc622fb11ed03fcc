/* message.c - see message.h. */
#include "tests/fuzz/message.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define SLICES_MAX 16u

struct omen_message {
    size_t bytes;
    size_t slice_count;
    uint8_t *slices[SLICES_MAX];
    size_t lengths[SLICES_MAX];
};

static void append_slice(omen_message *message, const uint8_t *data, size_t length)
{
    uint8_t *slice = malloc(length); /* of 0 bytes too: reading it is a mistake */

    FUZZ_CHECK(length == 0 || slice != NULL, "no memory for %zu bytes", length);
    if (length > 0) memcpy(slice, data, length);
    message->slices[message->slice_count] = slice;
    message->lengths[message->slice_count++] = length;
}

static int compare_sizes(const void *a, const void *b)
{
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;

    return x < y ? -1 : x > y;
}

omen_message *fuzz_message_create(const uint8_t *data, size_t size, uint64_t seed)
{
    omen_message *message = calloc(1, sizeof *message);
    size_t cuts[SLICES_MAX];
    size_t count = seed == 0 ? 0 : fuzz_random(&seed) % SLICES_MAX;
    size_t at = 0;

    FUZZ_CHECK(message != NULL, "no memory for a message");
    message->bytes = size;
    for (size_t i = 0; i < count; i++)
        cuts[i] = fuzz_random(&seed) % (size + 1);
    qsort(cuts, count, sizeof *cuts, compare_sizes);
    for (size_t i = 0; i < count; i++) {
        append_slice(message, data + at, cuts[i] - at);
        at = cuts[i];
    }
    append_slice(message, data + at, size - at);
    return message;
}

size_t omen_message_bytes(const omen_message *message)
{
    return message->bytes;
}

bool omen_message_slice(const omen_message *message, size_t index, const uint8_t **data,
                        size_t *bytes)
{
    if (index >= message->slice_count) return false;
    *data = message->slices[index];
    *bytes = message->lengths[index];
    return true;
}

void omen_message_destroy(omen_message *message)
{
    if (message == NULL) return;
    for (size_t i = 0; i < message->slice_count; i++)
        free(message->slices[i]);
    free(message);
}

/* mutate.c - libFuzzer's mutator for protobuf: it keeps the lengths around what it changes right.
 *
 * A blind mutation of a nested message nearly always breaks an outer length, and the decoder
 * refuses the whole before it has looked inside. So half of the mutations go down a seeded path
 * through the length-delimited fields, change the bytes at its end, or double the field, and write
 * the heads anew on the way up. The other half is blind.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define DEPTH_MAX  8u
#define VARINT_MAX 10u

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room); /* libFuzzer's own */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

/* A length-delimited field: the bytes from `start` are a tag, from `length_at` a length, from
 * `body` on its contents up to `end`. */
struct span {
    size_t start, length_at, body, end;
};

static bool read_varint(const uint8_t *data, size_t size, size_t *at, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *at < size && shift < 64; shift += 7) {
        uint8_t byte = data[(*at)++];

        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static size_t write_varint(uint8_t *out, uint64_t value)
{
    size_t n = 0;

    for (; value > 0x7f; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

/* One of the length-delimited fields, each as likely. False if there is none, or bytes that are no
 * fields. */
static bool choose_field(const uint8_t *data, size_t size, uint64_t *state, struct span *out)
{
    uint64_t seen = 0;

    for (size_t at = 0; at < size;) {
        struct span span = {.start = at};
        uint64_t tag = 0;
        uint64_t value = 0;

        if (!read_varint(data, size, &at, &tag) || tag < 8) return false;
        span.length_at = at;
        switch (tag & 7) {
        case 0:
            if (!read_varint(data, size, &at, &value)) return false;
            continue;
        case 1:
        case 5:
            value = (tag & 7) == 1 ? 8 : 4;
            if (value > size - at) return false;
            at += value;
            continue;
        case 2:
            if (!read_varint(data, size, &at, &value) || value > size - at) return false;
            span.body = at;
            span.end = at += value;
            if (fuzz_random(state) % ++seen == 0) *out = span;
            continue;
        default:
            return false;
        }
    }
    return seen > 0;
}

/* Doubles the field in place, if there is room. */
static size_t repeat_field(uint8_t *data, size_t size, size_t room, const struct span *span)
{
    size_t length = span->end - span->start;

    if (length > room - size) return size;
    memmove(data + span->end + length, data + span->end, size - span->end);
    memcpy(data + span->end, data + span->start, length);
    return size + length;
}

static size_t mutate(uint8_t *data, size_t size, size_t room, unsigned depth, uint64_t *state)
{
    struct span span = {0};
    uint8_t length[VARINT_MAX];

    if (depth == DEPTH_MAX || fuzz_random(state) % 4 == 0 ||
        !choose_field(data, size, state, &span))
        return LLVMFuzzerMutate(data, size, room);
    if (fuzz_random(state) % 8 == 0) return repeat_field(data, size, room, &span);

    size_t outside = size - (span.end - span.length_at); /* all but the length and the body */
    uint8_t *body = room - outside > VARINT_MAX ? malloc(room - outside - VARINT_MAX) : NULL;
    size_t body_room = body == NULL ? 0 : room - outside - VARINT_MAX;
    if (span.end - span.body > body_room || body_room == 0) {
        free(body);
        return LLVMFuzzerMutate(data, size, room);
    }
    memcpy(body, data + span.body, span.end - span.body);
    size_t bytes = mutate(body, span.end - span.body, body_room, depth + 1, state);
    size_t head = write_varint(length, bytes);
    memmove(data + span.length_at + head + bytes, data + span.end, size - span.end);
    memcpy(data + span.length_at, length, head);
    memcpy(data + span.length_at + head, body, bytes);
    free(body);
    return outside + head + bytes;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    uint64_t state = seed;

    if (size > room || fuzz_random(&state) % 2 == 0) return LLVMFuzzerMutate(data, size, room);
    return mutate(data, size, room, 0, &state);
}

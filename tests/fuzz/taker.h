/* taker.h - a collection that takes what the inputs write, beside a model of what it should hold.
 *
 * After each push the refused items are those that the model refuses, and the collection holds the
 * model's ids with their vectors and times, no more and no fewer. After so many inputs it is
 * validated and replaced by an empty one.
 */
#ifndef OMEN_TESTS_FUZZ_TAKER_H
#define OMEN_TESTS_FUZZ_TAKER_H

#include "tests/fuzz/model.h"
#include "tests/fuzz/place.h"

#define TAKER_MODES 3u

struct taker {
    char name[8];
    omen_collection *collection;
    struct model model;
    uint32_t uses;
    struct place_stream streams[TAKER_MODES]; /* by mode, opened when they are needed */
};

/* One of three, of dimension PLACE_DIM, one for each metric: "l2", "cosine", "ip". */
struct taker *taker_choose(uint64_t hash);

/* Its stream of this mode, which has a session. */
struct place_stream *taker_stream(struct taker *taker, omen_write_mode mode);

/* Pushes, waits and checks. Takes: chunk. */
void taker_push(struct taker *taker, struct place_stream *stream, omen_chunk *chunk);

/* The same chunk decoded twice: everything must be equal. */
void taker_check_same(const omen_chunk *a, const omen_chunk *b);

/* The request's points are as the model has them. */
void taker_get(struct taker *taker, struct omen_points_get *wanted);

#endif

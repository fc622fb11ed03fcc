/* codes_test.c - codes and THE ONE DISTANCE have the same bits on every tier and architecture.
 *
 * The distance stands in two places: engine/codes.h, and the kernel `near`. Both must round alike,
 * and neither may be contracted into an fma. 2 * p is exact, so the plain distance would not show
 * it; the part that inner product adds does, though seldom in a graph: the golden logs give the
 * same hash when contracted. CMake builds this file a second time with contraction allowed (and an
 * fma to contract into); that one must fail.
 */
#include "engine/codes.h"

#include <stdio.h>
#include <string.h>

#include "tests/engine/fixture.h"

#define PAIRS 100000u
/* FNV-1a over the bits of all distances; found the same on x86-64 and on ARM. */
#define DISTANCES_HASH UINT64_C(0x0abbfa8810260870)

static float random_between(uint64_t *seed, float low, float high)
{
    return low + (high - low) * ((float)(fixture_random(seed) >> 40) / (float)(1 << 24));
}

/* Scales over many powers of ten, as far as the components that are allowed reach. */
static struct omen_code_meta random_meta(uint64_t *seed, uint32_t dim)
{
    const float power = ldexpf(1.0f, (int)(fixture_random(seed) % 80) - 40);
    const float scale = power * random_between(seed, 1.0f, 2.0f);
    const int32_t dot = (int32_t)(fixture_random(seed) % (uint64_t)(dim * 127u * 127u));

    return (struct omen_code_meta){scale, (scale * scale) * (float)dot};
}

static void the_kernel_and_the_inline_distance_round_alike_on_every_tier(void **state)
{
    enum { COUNT = 64, DIM = 384 };
    uint64_t seed = 41;

    (void)state;
    for (unsigned isa = OMEN_ISA_ref; isa <= omen_cpu_isas(); isa <<= 1) {
        struct omen_kernels k;
        if ((isa & omen_cpu_isas()) == 0) continue;
        omen_kernels_pick(DIM, isa, &k);
        for (int repeat = 0; repeat < 500; repeat++) {
            _Alignas(64) int32_t dots[COUNT];
            _Alignas(64) float scale[COUNT], norm[COUNT], distances[COUNT];
            const struct omen_code_meta point = random_meta(&seed, DIM);
            uint64_t marks = 0;
            for (size_t j = 0; j < COUNT; j++) {
                /* Every fourth one is the point itself, where a difference would be largest. */
                const struct omen_code_meta other = j % 4 == 0 ? point : random_meta(&seed, DIM);
                scale[j] = other.scale;
                norm[j] = other.norm;
                dots[j] = (int32_t)(fixture_random(&seed) % 12000000) - 6000000;
            }
            k.near(point, dots, scale, norm, COUNT, 0.0f, distances, &marks);
            for (size_t j = 0; j < COUNT; j++) {
                const struct omen_code_meta other = {scale[j], norm[j]};
                const float wanted = omen_code_distance(point, other, dots[j]);
                if (memcmp(&wanted, &distances[j], sizeof wanted) != 0)
                    fail_msg("%s: %a instead of %a", k.near_name, (double)distances[j],
                             (double)wanted);
            }
        }
    }
}

static void distances_have_the_bits_that_they_have_everywhere(void **state)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    uint64_t seed = 42;

    (void)state;
    for (uint32_t i = 0; i < PAIRS; i++) {
        const struct omen_code_meta a = random_meta(&seed, 384), b = random_meta(&seed, 384);
        const int32_t dot = (int32_t)(fixture_random(&seed) % 12000000) - 6000000;
        const float larger = a.norm > b.norm ? a.norm : b.norm;
        const float phi_squared = i % 2 == 0 ? 0.0f : omen_code_phi_squared(0.0f, larger);
        float d = omen_code_distance(a, b, dot);
        uint32_t bits;

        if (phi_squared > 0.0f) d += omen_code_augment(phi_squared, a.norm, b.norm);
        memcpy(&bits, &d, sizeof bits);
        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
    }
    print_message("distances: %016llx\n", (unsigned long long)hash);
    assert_true(hash == DISTANCES_HASH);
}

static void encode_with(unsigned isa, const float *x, uint32_t dim, omen_metric metric,
                        uint8_t *code, struct omen_encoded *out)
{
    struct omen_kernels k;

    omen_kernels_pick(dim, isa, &k);
    assert_int_equal(omen_code_encode(&k, metric, x, code, out), 0);
}

static void a_vector_has_the_same_code_scale_and_norm_on_every_tier(void **state)
{
    static const uint32_t dims[] = {1, 2, 31, 100, 128, 384, 777, 1536};
    static const omen_metric metrics[] = {OMEN_METRIC_COSINE, OMEN_METRIC_L2,
                                          OMEN_METRIC_INNER_PRODUCT};
    uint64_t seed = 43;

    (void)state;
    for (size_t round = 0; round < 300; round++) {
        const uint32_t dim = dims[round % (sizeof dims / sizeof *dims)];
        const omen_metric metric = metrics[round % 3];
        const float size = ldexpf(1.0f, (int)(fixture_random(&seed) % 80) - 40);
        _Alignas(64) uint8_t expected[1536], got[1536];
        struct omen_encoded a, b;
        float x[1536];

        for (uint32_t i = 0; i < dim; i++)
            x[i] = size * fixture_normal(&seed);
        encode_with(OMEN_ISA_ref, x, dim, metric, expected, &a);
        for (unsigned isa = OMEN_ISA_ref; isa <= omen_cpu_isas(); isa <<= 1) {
            if ((isa & omen_cpu_isas()) == 0) continue;
            encode_with(isa, x, dim, metric, got, &b);
            assert_memory_equal(expected, got, omen_code_stride(dim));
            assert_memory_equal(&a.meta, &b.meta, sizeof a.meta);
            assert_memory_equal(&a.inverse_length, &b.inverse_length, sizeof a.inverse_length);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_and_the_inline_distance_round_alike_on_every_tier),
        cmocka_unit_test(distances_have_the_bits_that_they_have_everywhere),
        cmocka_unit_test(a_vector_has_the_same_code_scale_and_norm_on_every_tier),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

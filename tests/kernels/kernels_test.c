/* kernels_test.c - tiers and picking, and the main function of the kernel tests.
 *
 * Rows that this CPU cannot run are printed as emulated or skipped, never passed over in silence.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#define UP_TO_VNNI (OMEN_ISA_ref | OMEN_ISA_avx2 | OMEN_ISA_avx512 | OMEN_ISA_vnni)
#define ALL_ISAS   (UP_TO_VNNI | OMEN_ISA_amx)
#define TIER_COUNT 5
#elif defined(__aarch64__)
#define ALL_ISAS   (OMEN_ISA_ref | OMEN_ISA_neon | OMEN_ISA_dotprod)
#define TIER_COUNT 3
#else
#define ALL_ISAS   OMEN_ISA_ref
#define TIER_COUNT 1
#endif

/* Under an emulator nobody would notice that the tiers which are to be tested are not there: so the
 * build says which tier this CPU must reach. */
static void rows_that_this_cpu_cannot_run_are_named(void **state)
{
    const char *promised = getenv("OMEN_TEST_TOP_TIER");
    size_t count = 0;
    const struct omen_kernel_row *rows = omen_kernel_rows(&count);
    const unsigned isas = omen_cpu_isas();

    (void)state;
    printf("kernels: this CPU runs tiers up to %s\n", omen_isas_top(isas));
    assert_true((isas & OMEN_ISA_ref) != 0);
    if (promised != NULL) assert_string_equal(omen_isas_top(isas), promised);
#if defined(__x86_64__)
    if ((isas & OMEN_ISA_vnni) != 0) assert_int_equal(tested_isas(), ALL_ISAS); /* emulated */
#endif
    for (size_t i = 0; i < count; i++)
        if (((unsigned)rows[i].isa & isas) == 0)
            printf("%s: %s\n",
                   ((unsigned)rows[i].isa & tested_isas()) != 0 ? "EMULATED" : "SKIPPED",
                   rows[i].name);
}

/* ---- tiers ---------------------------------------------------------------------------------- */

static void a_tier_allows_itself_and_what_is_below(void **state)
{
    (void)state;
    assert_int_equal(omen_isas_named("ref"), OMEN_ISA_ref);
#if defined(__x86_64__)
    assert_int_equal(omen_isas_named("avx2"), OMEN_ISA_ref | OMEN_ISA_avx2);
    assert_int_equal(omen_isas_named("avx512"), OMEN_ISA_ref | OMEN_ISA_avx2 | OMEN_ISA_avx512);
    assert_int_equal(omen_isas_named("vnni"), UP_TO_VNNI);
    assert_int_equal(omen_isas_named("amx"), ALL_ISAS);
#elif defined(__aarch64__)
    assert_int_equal(omen_isas_named("neon"), OMEN_ISA_ref | OMEN_ISA_neon);
    assert_int_equal(omen_isas_named("dotprod"), ALL_ISAS);
#endif
}

static void an_unknown_tier_allows_nothing(void **state)
{
    static const char *const unknown[] = {
        "",
        " ",
        "AVX2",
        "avx",
        "avx2 ",
        "AMX",
        "amx_int8",
        "NEON ",
        "asimd",
        "sse",
        "ref,avx2",
        "ref,neon",
#if defined(__x86_64__)
        "neon",
        "dotprod"
    };
#else
        "avx2",
        "vnni",
        "amx"
    };
#endif

    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_int_equal(omen_isas_named(unknown[i]), 0);
}

static void every_listed_tier_is_known_by_its_name(void **state)
{
    char list[128];
    size_t tiers = 0;
    unsigned last = 0;

    (void)state;
    assert_true(snprintf(list, sizeof list, "%s", omen_isas_list()) < (int)sizeof list);
    char *rest = list;
    for (char *name = strtok_r(list, ", ", &rest); name != NULL;
         name = strtok_r(NULL, ", ", &rest)) {
        const unsigned isas = omen_isas_named(name);
        assert_true(isas > last); /* lowest first */
        assert_string_equal(omen_isas_top(isas), name);
        last = isas;
        tiers++;
    }
    assert_int_equal(tiers, TIER_COUNT);
    assert_int_equal(last, ALL_ISAS);
}

static void what_the_cpu_runs_has_no_holes(void **state)
{
    (void)state;
    assert_int_equal(omen_cpu_isas(), omen_isas_named(omen_isas_top(omen_cpu_isas())));
}

/* ---- the table and picking ----------------------------------------------------------------- */

static void every_row_is_named_after_what_it_is(void **state)
{
    size_t count = 0;
    const struct omen_kernel_row *rows = omen_kernel_rows(&count);
    char name[64];

    (void)state;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].dim == OMEN_DIM_any)
            (void)snprintf(name, sizeof name, "%s_any_%s", rows[i].op, omen_isas_top(rows[i].isa));
        else
            (void)snprintf(name, sizeof name, "%s_%u_%s", rows[i].op, rows[i].dim,
                           omen_isas_top(rows[i].isa));
        assert_string_equal(rows[i].name, name);
        assert_non_null(rows[i].fn);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rows[i].name, rows[j].name);
    }
}

/* What the rule says, written a second time: the last row that fits. */
static const struct omen_kernel_row *last_that_fits(const char *op, uint32_t dim, unsigned isas)
{
    size_t count = 0;
    const struct omen_kernel_row *rows = omen_kernel_rows(&count);

    for (size_t i = count; i-- > 0;)
        if (strcmp(rows[i].op, op) == 0 && (rows[i].dim == 0 || rows[i].dim == dim) &&
            ((unsigned)rows[i].isa & (isas | OMEN_ISA_ref)) != 0)
            return &rows[i];
    fail_msg("no row for %s", op);
    return NULL;
}

static void the_last_row_that_fits_is_picked(void **state)
{
    (void)state;
    for (size_t d = 0; d < dim_count; d++) {
        for (unsigned isas = 0; isas <= ALL_ISAS; isas++) {
            const uint32_t dim = (uint32_t)dims[d];
            struct omen_kernels k;
            memset(&k, 0, sizeof k);
            omen_kernels_pick(dim, isas, &k);
            assert_int_equal(k.dim, dim);
            assert_int_equal(k.isas, isas | OMEN_ISA_ref);
#define OP(field, type)                                                                            \
    assert_ptr_equal(k.field##_name, last_that_fits(#field, dim, isas)->name);                     \
    assert_true(k.field == (type *)last_that_fits(#field, dim, isas)->fn);
            OMEN_KERNEL_OPS(OP)
#undef OP
        }
    }
}

static void a_dimension_with_a_row_of_its_own_gets_it(void **state)
{
    struct omen_kernels k;

    (void)state;
    omen_kernels_pick(384, OMEN_ISA_ref, &k);
    assert_string_equal(k.dot_i8_many_name, "dot_i8_many_any_ref");
#if defined(__x86_64__)
    omen_kernels_pick(384, omen_isas_named("amx"), &k);
    assert_string_equal(k.dot_i8_block_name, "dot_i8_block_any_amx");
    assert_string_equal(k.dot_i8_many_name, "dot_i8_many_384_vnni");
    assert_string_equal(k.near_name, "near_any_avx512");
    omen_kernels_pick(384, omen_isas_named("vnni"), &k);
    assert_string_equal(k.dot_i8_block_name, "dot_i8_block_any_vnni");
    assert_string_equal(k.dot_i8_many_name, "dot_i8_many_384_vnni");
    assert_string_equal(k.l2sq_f32_many_name, "l2sq_f32_many_384_avx512");
    omen_kernels_pick(383, omen_isas_named("vnni"), &k);
    assert_string_equal(k.dot_i8_many_name, "dot_i8_many_any_vnni");
    omen_kernels_pick(768, omen_isas_named("avx512"), &k);
    assert_string_equal(k.dot_i8_many_name, "dot_i8_many_768_avx2");
    assert_string_equal(k.near_name, "near_any_avx512");
    omen_kernels_pick(768, omen_isas_named("avx2"), &k);
    assert_string_equal(k.near_name, "near_any_avx2");
#elif defined(__aarch64__)
    omen_kernels_pick(384, omen_isas_named("dotprod"), &k);
    assert_string_equal(k.dot_i8_many_name, "dot_i8_many_384_dotprod");
    assert_string_equal(k.l2sq_f32_many_name, "l2sq_f32_many_384_neon");
    assert_string_equal(k.near_name, "near_any_neon");
    omen_kernels_pick(383, omen_isas_named("dotprod"), &k);
    assert_string_equal(k.dot_i8_many_name, "dot_i8_many_any_dotprod");
    omen_kernels_pick(768, omen_isas_named("neon"), &k);
    assert_string_equal(k.dot_i8_many_name, "dot_i8_many_768_neon");
#endif
}

/* ---- the last word -------------------------------------------------------------------------- */

/* A row whose op, or whose dimension, no test knows would otherwise go untested. */
static void every_row_that_can_be_run_was_compared_with_the_reference(void **state)
{
    size_t count = 0;
    const struct omen_kernel_row *rows = omen_kernel_rows(&count);
    const unsigned isas = tested_isas();

    (void)state;
    for (size_t i = 0; i < count; i++)
        if (rows[i].isa != OMEN_ISA_ref && ((unsigned)rows[i].isa & isas) != 0 &&
            !row_was_compared(&rows[i]))
            fail_msg("%s was compared with nothing", rows[i].name);
}

int main(void)
{
    const struct CMUnitTest last[] = {
        cmocka_unit_test(every_row_that_can_be_run_was_compared_with_the_reference),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_this_cpu_cannot_run_are_named),
        cmocka_unit_test(a_tier_allows_itself_and_what_is_below),
        cmocka_unit_test(an_unknown_tier_allows_nothing),
        cmocka_unit_test(every_listed_tier_is_known_by_its_name),
        cmocka_unit_test(what_the_cpu_runs_has_no_holes),
        cmocka_unit_test(every_row_is_named_after_what_it_is),
        cmocka_unit_test(the_last_row_that_fits_is_picked),
        cmocka_unit_test(a_dimension_with_a_row_of_its_own_gets_it),
    };
    int failed = cmocka_run_group_tests_name("picking", tests, NULL, NULL);

#if defined(__x86_64__)
    failed += run_amx_tests();
#endif
    failed += run_int8_tests();
    failed += run_float_tests();
    failed += cmocka_run_group_tests_name("coverage", last, NULL, NULL);
    return failed == 0 ? 0 : 1;
}

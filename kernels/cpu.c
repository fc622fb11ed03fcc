/* cpu.c - which tiers there are, what they are called, and which of them this machine can run.
 *
 * Happy path: omen_cpu_isas() once at start, narrowed by omen_isas_named() if someone asked for
 * less. An unknown name gives the empty set, which the caller turns into a sentence with
 * omen_isas_list(). A tier counts only if the operating system saves its registers as well: the
 * compiler's own test reads XGETBV for that, for AMX we read it and ask Linux besides, and on ARM
 * the kernel itself lists what it supports.
 */
#include "kernels/kernels.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
#define TIER_NAMES "ref, avx2, avx512, vnni, amx"
#elif defined(__aarch64__)
#define TIER_NAMES "ref, neon, dotprod"
#else
#define TIER_NAMES "ref"
#endif

/* Lowest first. `allows` is what a request for the tier grants: itself and what it builds upon. */
static const struct tier {
    const char *name;
    unsigned isa;
    unsigned allows;
} tiers[] = {
    {"ref", OMEN_ISA_ref, OMEN_ISA_ref},
#if defined(__x86_64__)
    {"avx2", OMEN_ISA_avx2, OMEN_ISA_ref | OMEN_ISA_avx2},
    {"avx512", OMEN_ISA_avx512, OMEN_ISA_ref | OMEN_ISA_avx2 | OMEN_ISA_avx512},
    {"vnni", OMEN_ISA_vnni, OMEN_ISA_ref | OMEN_ISA_avx2 | OMEN_ISA_avx512 | OMEN_ISA_vnni},
    {"amx", OMEN_ISA_amx,
     OMEN_ISA_ref | OMEN_ISA_avx2 | OMEN_ISA_avx512 | OMEN_ISA_vnni | OMEN_ISA_amx},
#elif defined(__aarch64__)
    {"neon", OMEN_ISA_neon, OMEN_ISA_ref | OMEN_ISA_neon},
    {"dotprod", OMEN_ISA_dotprod, OMEN_ISA_ref | OMEN_ISA_neon | OMEN_ISA_dotprod},
#endif
};
#define TIER_COUNT (sizeof tiers / sizeof *tiers)

#if defined(__x86_64__)
/* Not every compiler's headers have these. */
#define CPUID_7_EDX_AMX_TILE (1u << 24)
#define CPUID_7_EDX_AMX_INT8 (1u << 25)
#define XCR0_TILES           (1u << 17 | 1u << 18) /* their configuration and their data */
#define REQUEST_STATE        0x1023                /* ARCH_REQ_XCOMP_PERM */
#define STATE_TILE_DATA      18                    /* XFEATURE_XTILEDATA */
#endif

#if defined(__x86_64__)
/* Not every compiler's __builtin_cpu_supports knows this one. It lives in AVX registers, so where
 * AVX2 may be used, it may be. */
static bool has_f16c(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;

    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

/* Only where there is AVX-512: then XGETBV exists. */
static bool has_amx(void)
{
    const unsigned features = CPUID_7_EDX_AMX_TILE | CPUID_7_EDX_AMX_INT8;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;

    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
    if ((edx & features) != features) return false;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (eax & XCR0_TILES) == XCR0_TILES;
}

/* Linux gives a thread room for its tiles when it first uses them, and only if the process asked.
 * The call is written out as this folder knows nothing of unistd.h. */
static bool may_use_amx(void)
{
    long status = SYS_arch_prctl;

    __asm__ volatile("syscall"
                     : "+a"(status)
                     : "D"((long)REQUEST_STATE), "S"((long)STATE_TILE_DATA)
                     : "rcx", "r11", "memory");
    return status == 0;
}
#endif

unsigned omen_cpu_isas(void)
{
    unsigned isas = OMEN_ISA_ref;

#if defined(__x86_64__)
    /* Each tier asks for the one below it too, so that the set has no holes. */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c() ||
        !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
        return isas;
    isas |= OMEN_ISA_avx2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        return isas;
    isas |= OMEN_ISA_avx512;
    if (!__builtin_cpu_supports("avx512vnni")) return isas;
    isas |= OMEN_ISA_vnni;
    if (has_amx() && may_use_amx()) isas |= OMEN_ISA_amx;
#elif defined(__aarch64__)
    const unsigned long features = getauxval(AT_HWCAP);

    if ((features & HWCAP_ASIMD) == 0) return isas;
    isas |= OMEN_ISA_neon;
    if ((features & HWCAP_ASIMDDP) != 0) isas |= OMEN_ISA_dotprod;
#endif
    return isas;
}

unsigned omen_isas_named(const char *name)
{
    for (size_t i = 0; i < TIER_COUNT; i++)
        if (strcmp(tiers[i].name, name) == 0) return tiers[i].allows;
    return 0;
}

const char *omen_isas_top(unsigned isas)
{
    const char *top = tiers[0].name;

    for (size_t i = 0; i < TIER_COUNT; i++)
        if ((tiers[i].isa & isas) != 0) top = tiers[i].name;
    return top;
}

const char *omen_isas_list(void)
{
    return TIER_NAMES;
}
